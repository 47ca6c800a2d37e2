"""What the platform's process gives up at its start.

Protects: the strongroom's files and memory, and the user's own files, from a platform that was
    taken over. Started as root it becomes a user of its own; where Landlock is offered it keeps
    its directory, its interpreter and its port, and nothing else.
Does not protect: what the platform itself holds, and outgoing connections.
Limits: where neither is possible the zones are not isolated; the posture says so in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keylease.platform.db.backups import find_pg_dump
from keylease.platform.server.configuration import ServerConfiguration
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


def give_up(configuration: ServerConfiguration) -> tuple[Measure, ...]:
    """Keep what a platform needs; call it before a thread is started or a file is opened."""
    directory = Path(configuration.data_directory)
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    needs = interpreter_needs()
    pg_dump = (find_pg_dump(),) if configuration.database_url.startswith("postgresql") else ()
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
        readable=(*needs.readable, "/proc/self"),
        executable=(*needs.executable, *filter(None, pg_dump)),
        writable=(*needs.writable, str(directory)),
        ports=_ports(configuration),
    )
    return (*measures, confine(confinement))


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
