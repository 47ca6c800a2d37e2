"""What the platform's process gives up at its start.

Protects: the strongroom's files and memory, and the user's own files, from a platform that was
    taken over. Started as root it becomes a user of its own; where Landlock is offered it keeps
    its directory, its interpreter, its port, the files that its stores' addresses name and the
    trace store's password, and nothing else. Fingerprint keys were read before (``given.py``).
Does not protect: what the platform itself holds, and outgoing connections.
Limits: where neither is possible the zones are not isolated; the posture says so in words.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from keylease.platform.db.backups import find_pg_dump
from keylease.platform.db.database import database_url
from keylease.platform.server.configuration import ServerConfiguration
from keylease.platform.traces.store.address import server_address
from keylease.primitives.confinement.interpreter import interpreter_needs
from keylease.primitives.confinement.landlock import Confinement, confine
from keylease.primitives.confinement.measures import Measure
from keylease.primitives.confinement.process import (
    no_core_dumps,
    no_new_privileges,
    not_dumpable,
    stop_with_parent,
)
from keylease.primitives.confinement.users import OwnUser, become

_OWN_USER: Final = "own user"
_LANDLOCK: Final = "confined by Landlock"
_FILES_OF_POSTGRESQL: Final = ("passfile", "sslrootcert", "sslcert", "sslkey", "sslcrl")


def give_up(configuration: ServerConfiguration) -> tuple[Measure, ...]:
    """Keep what a platform needs; call it before a thread is started or a file is opened."""
    directory = Path(configuration.data_directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    needs = interpreter_needs()
    pg_dump = _pg_dump(configuration)
    measures = [no_core_dumps(), no_new_privileges()]
    user = OwnUser(
        uid=configuration.user_id,
        readable=(*needs.executable, *needs.readable),
        owned=(str(directory),),
        passed_through=(str(directory.parent),),
        ports=_ports(configuration),
    )
    measures.append(become(user))
    measures.append(not_dumpable())  # a change of user takes it away
    if configuration.stop_with_parent:
        stop_with_parent()
    confinement = Confinement(
        readable=(
            *needs.readable,
            "/proc/self",
            *_named_by_addresses(configuration),
            *filter(None, [configuration.promises_file]),
        ),
        executable=(*needs.executable, *pg_dump),
        writable=(*needs.writable, str(directory)),
        ports=_ports(configuration),
    )
    return (*measures, confine(confinement))


def _pg_dump(configuration: ServerConfiguration) -> tuple[str, ...]:
    """The program that makes a back-up before an upgrade, and the libraries beside it."""
    if not configuration.database_url.startswith("postgresql"):
        return ()
    program = configuration.pg_dump or find_pg_dump()
    if not program:
        return ()
    path = Path(os.path.realpath(program))
    beside = path.parent.parent / "lib"  # of a PostgreSQL in a directory of its own
    return (program, str(path), *([str(beside)] if path.parent.name == "bin" else []))


def _named_by_addresses(configuration: ServerConfiguration) -> tuple[str, ...]:
    """Files that are read again for connections: certificates, PostgreSQL's passfile, a password.

    The password is the trace store's, and in this process's memory in any case.
    They have to be readable to the server's own user; what does not exist cannot be named.
    """
    files: list[str] = []
    if configuration.database_url:
        query = database_url(configuration.database_url).query
        files += [str(query[name]) for name in _FILES_OF_POSTGRESQL if name in query]
    if configuration.trace_store_url:
        files.append(server_address(configuration.trace_store_url).ca_file)
        files.append(configuration.trace_store_password_file)
    return tuple(filter(None, files))


def _ports(configuration: ServerConfiguration) -> tuple[int, ...]:
    grpc = configuration.otlp_grpc.rpartition(":")[2]
    return (configuration.port, int(grpc)) if grpc.isdecimal() else (configuration.port,)


def posture_in_words(measures: tuple[Measure, ...]) -> str:
    """One line: what is on, what is off and why."""
    isolated = any(m.on for m in measures if m.name in {_OWN_USER, _LANDLOCK})
    on = ", ".join(m.name for m in measures if m.on) or "nothing"
    off = "".join(f"; {m.name} off: {m.reason}" for m in measures if not m.on)
    warning = "" if isolated else "; WARNING zones not isolated"
    return f"platform posture: {on}{off}{warning}"
