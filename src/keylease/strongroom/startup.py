"""How each kind of strongroom process starts: harden, look, confine, and only then work.

Modules that can hold a secret are imported inside the functions, after the process was hardened.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import ProcessError
from keylease.primitives.clock import SystemClock
from keylease.primitives.confinement.interpreter import interpreter_needs
from keylease.primitives.confinement.landlock import Confinement, confine
from keylease.primitives.confinement.measures import Measure
from keylease.primitives.confinement.process import (
    harden_process,
    memory_locked,
    memory_unlocked,
    not_dumpable,
    stop_with_parent,
)
from keylease.primitives.confinement.users import OwnUser, become
from keylease.strongroom.configuration import Address, GatewayConfiguration
from keylease.strongroom.data_directory import STRONGROOM_PART, open_data_directory
from keylease.strongroom.hardening.environment import clean_environment
from keylease.strongroom.hardening.needs import (
    configured_files,
    directories_of,
    env_names,
    replaced_files,
    uses_scheme,
)
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.hardening.weaknesses import (
    weaknesses_of_configuration,
    weaknesses_of_process,
)
from keylease.strongroom.options import STRONGROOM_UID, GatewayOptions, WorkerOptions

_FEEDING_SECONDS: Final = 5.0
_TERMINALS: Final = ("/dev/tty", "/dev/pts", "/dev/console")
_AWS_FILES: Final = ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE")
_AWS_TOKEN_FILES: Final = ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
_REKEY: Final = "secret-rekey"
"""Hardened, not confined: it writes a new key wherever it is told to."""
NO_ORGANIZATION: Final = "00000000-0000-0000-0000-000000000000"
"""For reading a policy file only for what it names."""


def harden() -> tuple[Measure, ...]:
    """The first thing every strongroom process does. May start the process over."""
    return (clean_environment(), *harden_process())


def run_gateway(options: GatewayOptions) -> int:
    """Start the coordinator; returns when it has drained."""
    # 1. Harden, before anything that can hold a secret is imported.
    measures = harden()
    from keylease.strongroom.config_files.gateway_file import load_gateway  # noqa: PLC0415 - hardened first

    # 2. Check the configuration before a file is written or a port is opened.
    options = msgspec.structs.replace(options, gateway_file=os.path.realpath(options.gateway_file))
    configuration = with_port(load_gateway(Path(options.gateway_file)), options.port)
    # 3. Create the data directory and, on first use, the key that seals it: the last things that
    #    need rights which the gateway gives up. The lock is let go and taken again below.
    directory = Path(options.data_directory)
    with open_data_directory(directory, clock=SystemClock()):
        sealing_key = _sealing_key(configuration, directory)
    # 4. Give up everything that is not needed.
    starter = os.geteuid()
    separated = _separate(options, configuration, sealing_key)
    measures = _as_they_are_now(*measures, *separated)
    if options.stop_with_parent:
        stop_with_parent()
    owner_uid = starter if starter != os.geteuid() else None
    posture = Posture(
        measures=measures,
        warnings=(
            *weaknesses_of_process(measures, shares_environment=shares_environment()),
            *weaknesses_of_configuration(configuration),
        ),
    )
    # 5. Work.
    from keylease.strongroom.gateway.coordinator import process  # noqa: PLC0415 - hardened first

    return process.main(options, posture=posture, owner_uid=owner_uid)


def run_worker(options: WorkerOptions) -> int:
    """Start a worker; returns when it has drained.

    The coordinator's confinement was inherited; a worker gives up the data directory and the
    right to bind as well: its sockets were handed to it.
    """
    harden()
    needs = interpreter_needs()
    confine(
        Confinement(
            readable=(*needs.readable, *options.readable),
            executable=needs.executable,
            writable=needs.writable,
            ports=(),
        )
    )
    from keylease.strongroom.gateway.worker import process  # noqa: PLC0415 - hardened first

    return process.main(channel_fd=options.channel, listen_fds=options.listeners)


def run_secret(name: str, arguments: list[str]) -> int:
    """Run one command of the sealed store."""
    harden()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gateway-file", type=Path)
    parser.add_argument("--data-dir", type=Path)
    places, _ = parser.parse_known_args(arguments)
    if name != _REKEY and places.gateway_file and places.data_dir:
        _confine_secret_command(places.gateway_file, places.data_dir)
    from keylease.strongroom import secret_commands  # noqa: PLC0415 - hardened first

    status = secret_commands.main(name, arguments)
    if places.gateway_file and places.data_dir and os.geteuid() == 0:
        _give_to_owner(places.data_dir / "strongroom", places.gateway_file.parent)
    return status


def run_enroll(arguments: list[str]) -> int:
    """Register this gateway with the platform that gateway.toml names."""
    harden()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    places, _ = parser.parse_known_args(arguments)
    _confine_secret_command(places.gateway_file, places.data_dir)
    from keylease.strongroom.link import enroll_command  # noqa: PLC0415 - hardened first

    status = enroll_command.main(arguments)
    if os.geteuid() == 0:
        _give_to_owner(places.data_dir / "strongroom", places.gateway_file.parent)
    return status


def run_connector(arguments: list[str]) -> int:
    """Ask an outside system what it keeps. Confined like a command of the sealed store."""
    harden()
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    places, _ = parser.parse_known_args(arguments)
    _confine_secret_command(places.gateway_file, places.data_dir)
    from keylease.strongroom.connectors import commands  # noqa: PLC0415 - hardened first

    return commands.main(arguments)


def run_verify(gateway_file: Path, rest: list[str]) -> int:
    """Ask providers about found keys. It reads its configuration and keeps no file at all."""
    harden()
    from keylease.strongroom.config_files.gateway_file import load_gateway  # noqa: PLC0415 - hardened first

    configuration = load_gateway(gateway_file) if gateway_file.exists() else None
    places = configuration.verification if configuration is not None else ()
    needs = interpreter_needs()
    confine(
        Confinement(
            readable=(*needs.readable, *(place.ca_file for place in places if place.ca_file)),
            executable=needs.executable,
            writable=needs.writable,
            ports=(),
        )
    )
    stop_with_parent()
    from keylease.strongroom.verification import commands  # noqa: PLC0415 - hardened first

    return commands.main(rest, configuration)


def run_handover(
    gateway_file: Path, policy_file: Path, command: Sequence[str], keep: Sequence[str]
) -> int:
    """Put what ``env://`` references need into a descriptor, then become ``command``.

    The command gets ``--handover-fd N`` and those variables whose names are in ``keep``. Because
    this process *becomes* the command, no copy of a value stays in any memory but the descriptor's.
    """
    harden()
    from keylease.strongroom.config_files.gateway_file import load_gateway  # noqa: PLC0415 - hardened first
    from keylease.strongroom.config_files.policy_file import load_policy  # noqa: PLC0415 - as above
    from keylease.strongroom.stores import env, registry  # noqa: PLC0415 - as above

    configuration = load_gateway(gateway_file)
    if configuration.platform is None:
        bundle = load_policy(policy_file, organization_id=NO_ORGANIZATION, version=1, now=0)
        references = tuple(credential.reference for credential in bundle.credentials)
    else:
        # What a platform will name is not known here; what the owner bound by name is.
        references = tuple(b.reference for b in configuration.bindings if "*" not in b.reference)
    names = (*env_names(references), *registry.environment_names(configuration.stores))
    descriptor = env.handover(names)
    for feeder in threading.enumerate():
        # Where there are no memory files a thread feeds a pipe. It must be done before this
        # process is replaced; a pipe takes at least 16 KiB.
        if feeder is not threading.current_thread():
            feeder.join(timeout=_FEEDING_SECONDS)
            if feeder.is_alive():
                raise ProcessError(
                    "The values that env:// references name are over 16 KiB.",
                    advice="Keep large secrets in a file or a secret store.",
                )
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - the signature of the standard library
    environment = {
        name: value
        for name, value in os.environ.items()  # noqa: TID251 - hands on what is listed
        if name in keep
    }
    arguments = [*command, "--handover-fd", str(descriptor)]
    try:
        os.execve(arguments[0], arguments, environment)  # noqa: S606 - the supervisor, no shell
    except OSError as error:
        raise ProcessError(
            f"{arguments[0]} cannot be started: {error.strerror}.",
            advice="Check that the program is there and may be executed.",
        ) from error


def print_posture() -> int:
    """Say, as JSON, which measures a strongroom process has here."""
    measures = harden()
    needs = interpreter_needs()
    # As a gateway does it, but for its files: this process has none, and ends at once.
    memory_unlocked()
    own_user = become(OwnUser(uid=STRONGROOM_UID, readable=(*needs.executable, *needs.readable)))
    again = (memory_locked(), not_dumpable())
    confined = confine(
        Confinement(readable=needs.readable, executable=needs.executable, writable=needs.writable)
    )
    measures = _as_they_are_now(*measures, own_user, *again, confined)
    posture = Posture(
        measures=measures,
        warnings=weaknesses_of_process(measures, shares_environment=shares_environment()),
    )
    json.dump(msgspec.to_builtins(posture), sys.stdout)
    sys.stdout.write("\n")
    return 0


def with_port(configuration: GatewayConfiguration, port: int | None) -> GatewayConfiguration:
    """The configuration with another port in its first listening address.

    Metrics move to the next port, so that two gateways with ports of their own do not meet there.
    """
    if port is None or not configuration.listen:
        return configuration
    first, *others = configuration.listen
    metrics = configuration.metrics
    if metrics is not None:
        metrics = Address(host=metrics.host, port=port + 1 if port else 0)
    return msgspec.structs.replace(
        configuration, listen=(Address(host=first.host, port=port), *others), metrics=metrics
    )


def shares_environment() -> bool:
    """Whether packages that the strongroom does not need are importable beside a key.

    ``.pth`` files of such packages are code that runs at every start.
    """
    from importlib.util import find_spec  # noqa: PLC0415 - used at start only

    return any(find_spec(name) is not None for name in ("typer", "rich"))


def _separate(
    options: GatewayOptions, configuration: GatewayConfiguration, sealing_key: Path | None
) -> tuple[Measure, ...]:
    needs = interpreter_needs()
    own_keys = own_key_files(configuration)
    files = (*configured_files(configuration), *replaced_files(configuration))
    files = tuple(file for file in files if file not in own_keys)
    key_files = (*own_keys, str(sealing_key)) if sealing_key is not None else own_keys
    ports = tuple(address.port for address in configuration.listen)
    if configuration.metrics is not None:
        ports += (configuration.metrics.port,)
    memory_unlocked()
    own_user = become(
        OwnUser(
            uid=options.user_id,
            readable=(*needs.executable, *needs.readable, *files),
            owned=(*own_part(Path(options.data_directory)), *key_files),
            passed_through=(options.data_directory,),
            ports=ports,
        )
    )
    again = (memory_locked(), not_dumpable())  # a change of user takes both away
    confined = confine(
        Confinement(
            readable=(*needs.readable, *files, *key_files, *_store_files(configuration)),
            executable=needs.executable,
            writable=(*needs.writable, *own_part(Path(options.data_directory))),
            ports=ports,
            scoped=not uses_scheme(configuration, "keyring"),
        )
    )
    return (own_user, *again, confined)


def _as_they_are_now(*measures: Measure) -> tuple[Measure, ...]:
    """Each measure once: one that was taken again counts as it went the last time."""
    return tuple({measure.name: measure for measure in measures}.values())


def own_key_files(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """The fingerprint key, where it lies beside gateway.toml, as `keylease up` makes it.

    Root has made it then, and the user that the gateway becomes has to read it. A file elsewhere,
    a mounted secret, say, is left as it is.
    """
    file = configuration.platform.fingerprint_key_file if configuration.platform else ""
    beside = bool(file) and Path(file).parent == Path(configuration.path).parent
    return (file,) if beside and Path(file).is_file() else ()


def own_part(data_directory: Path) -> tuple[str, ...]:
    """What the strongroom has of a data directory, in which other zones have theirs."""
    return tuple(str(data_directory / name) for name in STRONGROOM_PART)


def _confine_secret_command(gateway_file: Path, data_directory: Path) -> None:
    """Leave a command of the sealed store its files, its terminal and what gateway.toml names."""
    from keylease.strongroom.config_files.gateway_file import load_gateway  # noqa: PLC0415 - hardened first

    needs = interpreter_needs()
    files: tuple[str, ...] = ()
    # Both directories are made now: what does not exist cannot be named.
    key_directory = gateway_file.parent
    data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    key_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    if gateway_file.exists():
        configuration = load_gateway(gateway_file)
        files = (
            *configured_files(configuration),
            *_store_files(configuration),
            *(one.ca_file for one in configuration.connectors if one.ca_file),
        )
        if configuration.stores.sealed_key_file:
            key_directory = Path(configuration.stores.sealed_key_file).parent
    confine(
        Confinement(
            readable=(*needs.readable, *files),
            executable=needs.executable,
            writable=(*needs.writable, str(data_directory), str(key_directory)),
            devices=_TERMINALS,
            scoped=False,
        )
    )


def _give_to_owner(strongroom: Path, config_directory: Path) -> None:
    """What root has written belongs to the user that the gateway runs as."""
    from keylease.strongroom.stores.registry import (  # noqa: PLC0415 - hardened first
        default_key_file,
    )

    if not strongroom.is_dir():
        return
    owner = strongroom.stat().st_uid
    for path in (
        *strongroom.iterdir(),
        *(strongroom / "platform").glob("*"),
        default_key_file(config_directory),
    ):
        if path.exists() and path.lstat().st_uid != owner:
            os.chown(path, owner, owner, follow_symlinks=False)


def _store_files(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """What the libraries of cloud stores read on their own."""
    connected = any(one.system == "aws-sm" for one in configuration.connectors)
    if not connected and not uses_scheme(configuration, "aws-sm"):
        return ()
    environment = os.environ  # noqa: TID251 - where the AWS credential chain looks for files
    files = [environment[name] for name in _AWS_FILES if environment.get(name)]
    # Kubernetes swaps these for fresh ones every few hours.
    tokens = [environment[name] for name in _AWS_TOKEN_FILES if environment.get(name)]
    home = environment.get("HOME", "")
    return (
        *files,
        *tokens,
        *directories_of(map(Path, tokens)),
        *([f"{home}/.aws"] if home else []),
    )


def _sealing_key(configuration: GatewayConfiguration, directory: Path) -> Path | None:
    """The key file of the sealed store, made now when it will be needed and is not there."""
    stores = configuration.stores
    if stores.sealed_passphrase_file or not uses_scheme(configuration, "sealed"):
        return None
    from keylease.strongroom.stores.registry import (  # noqa: PLC0415 - hardened first
        default_key_file,
    )
    from keylease.strongroom.stores.sealing_key import KeyFile  # noqa: PLC0415 - as above

    path = Path(stores.sealed_key_file or default_key_file(Path(configuration.path).parent))
    sealed_before = (directory / "strongroom" / "sealed.json").exists()
    if not path.exists() and not sealed_before:
        # With a sealed store already there, a missing key is an error that its store explains:
        # a new key would only hide that the old one is gone.
        KeyFile(path, data_directory=directory).create().wipe()
    return path
