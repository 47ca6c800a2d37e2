"""`python -I -m keylease.strongroom`: every process that may see a key starts here.

The order matters: the process is hardened before anything that can read a secret is imported, and
confined before it listens. What follows is decided by the first argument; each command is one
function in the module that owns the work:

    gateway      gateway.coordinator.main(options, posture=, owner_uid=)
    worker       gateway.worker.main(channel_fd=, listen_fds=)
    connector    asks an outside system what secrets it keeps; prints a report as JSON
    verify       asks providers whether the keys that stdin brings work
    enroll       registers the gateway with its platform
    secret-*     secret_commands.main(command, arguments)
    handover     puts the values of env:// references into a descriptor, then becomes a command
    signing-key  writes lease signing keys for a store that the gateway cannot write to
    posture      prints the measures of this process as JSON
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from keylease.errors import KeyleaseError, ProcessError
from keylease.primitives import standard_streams
from keylease.strongroom.options import LOG_FORMATS, LOG_LEVELS, STRONGROOM_UID

_DEFECT: Final = 70
_INTERRUPTED: Final = 130
SECRET_COMMANDS: Final = (
    "secret-put",
    "secret-list",
    "secret-remove",
    "secret-check",
    "secret-rekey",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Harden, then do what the first argument says; gives the exit status."""
    return standard_streams.answered(lambda: _answer(arguments))


def _answer(arguments: Sequence[str] | None) -> int:
    try:
        options, rest = _parser().parse_known_args(arguments)
        _check_isolated(danger_not_isolated=options.danger_not_isolated)
        run: Callable[[argparse.Namespace, list[str]], int] = options.run
        status = run(options, rest)
        sys.stdout.flush()
    except KeyleaseError as error:
        _say(f"error: {error.message}")
        if error.advice:
            _say(f"hint: {error.advice}")
        return error.exit_status
    except KeyboardInterrupt:
        return _INTERRUPTED
    except Exception as error:
        if isinstance(error, BrokenPipeError) and standard_streams.reader_has_gone():
            raise
        # Neither its text nor the traceback: both could hold what the code was working on.
        _say(f"error: {type(error).__name__} at {_place(error)} (this is a defect)")
        return _DEFECT
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="keylease.strongroom", allow_abbrev=False)
    parser.add_argument("--danger-not-isolated", action="store_true", help=argparse.SUPPRESS)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    gateway = commands.add_parser("gateway", allow_abbrev=False)
    gateway.add_argument("--gateway-file", type=Path, required=True)
    gateway.add_argument("--data-dir", type=Path, required=True)
    gateway.add_argument("--port", type=int)
    gateway.add_argument("--uid", type=int, default=STRONGROOM_UID)
    gateway.add_argument("--handover-fd", type=int)
    gateway.add_argument("--stop-with-parent", action="store_true")
    gateway.add_argument("--ready-fd", type=int)
    gateway.add_argument("--log-level", choices=LOG_LEVELS, default="info")
    gateway.add_argument("--log-format", choices=LOG_FORMATS, default="json")
    gateway.set_defaults(run=_gateway)

    worker = commands.add_parser("worker", allow_abbrev=False)
    worker.add_argument("--channel-fd", type=int, required=True)
    worker.add_argument("--listen-fd", type=int, action="append", default=[])
    worker.add_argument("--number", type=int, default=0)
    worker.add_argument("--readable", action="append", default=[])
    worker.set_defaults(run=_worker)

    handover = commands.add_parser("handover", allow_abbrev=False)
    handover.add_argument("--gateway-file", type=Path, required=True)
    handover.add_argument("--policy-file", type=Path, required=True)
    handover.add_argument("--keep", action="append", default=[])
    handover.add_argument("command", nargs="+")
    handover.set_defaults(run=_handover)

    posture = commands.add_parser("posture", allow_abbrev=False)
    posture.set_defaults(run=_posture)

    signing_key = commands.add_parser("signing-key", allow_abbrev=False)
    signing_key.add_argument("--rotate", action="store_true")
    signing_key.set_defaults(run=_signing_key)

    enroll = commands.add_parser("enroll", allow_abbrev=False, add_help=False)
    enroll.set_defaults(run=_enroll)

    connector = commands.add_parser("connector", allow_abbrev=False, add_help=False)
    connector.set_defaults(run=_connector)

    verify = commands.add_parser("verify", allow_abbrev=False)
    verify.add_argument("--gateway-file", type=Path, required=True)
    verify.set_defaults(run=_verify)

    for name in SECRET_COMMANDS:
        secret = commands.add_parser(name, allow_abbrev=False, add_help=False)
        secret.set_defaults(run=_secret, name=name)
    return parser


def _gateway(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.options import GatewayOptions  # noqa: PLC0415 - as above
    from keylease.strongroom.startup import run_gateway  # noqa: PLC0415 - after the checks

    _no_more(rest)
    return run_gateway(
        GatewayOptions(
            gateway_file=str(options.gateway_file.absolute()),
            data_directory=str(options.data_dir.absolute()),
            port=options.port,
            user_id=options.uid,
            stop_with_parent=options.stop_with_parent,
            handover=options.handover_fd,
            ready=options.ready_fd,
            log_level=options.log_level,
            log_format=options.log_format,
        )
    )


def _worker(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.options import WorkerOptions  # noqa: PLC0415 - as above
    from keylease.strongroom.startup import run_worker  # noqa: PLC0415 - after the checks

    _no_more(rest)
    return run_worker(
        WorkerOptions(
            channel=options.channel_fd,
            listeners=tuple(options.listen_fd),
            number=options.number,
            readable=tuple(options.readable),
        )
    )


def _secret(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import run_secret  # noqa: PLC0415 - after the checks

    return run_secret(options.name, rest)


def _connector(_: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import run_connector  # noqa: PLC0415 - after the checks

    return run_connector(rest)


def _verify(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import run_verify  # noqa: PLC0415 - after the checks

    return run_verify(options.gateway_file, rest)


def _enroll(_: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import run_enroll  # noqa: PLC0415 - after the checks

    return run_enroll(rest)


def _handover(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import run_handover  # noqa: PLC0415 - after the checks

    _no_more(rest)
    return run_handover(options.gateway_file, options.policy_file, options.command, options.keep)


def _posture(_: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import print_posture  # noqa: PLC0415 - after the checks

    _no_more(rest)
    return print_posture()


def _signing_key(options: argparse.Namespace, rest: list[str]) -> int:
    from keylease.strongroom.startup import harden  # noqa: PLC0415 - as above

    _no_more(rest)
    harden()
    from keylease.strongroom.leases.key_commands import main  # noqa: PLC0415 - hardened first

    return main(rotate=options.rotate)


def _check_isolated(*, danger_not_isolated: bool) -> None:
    if not sys.flags.isolated and not danger_not_isolated:
        raise ProcessError(
            "A strongroom process must be started with python -I.",
            advice="Without -I, PYTHON* variables and the current directory could load code"
            " into it.",
        )


def _no_more(rest: list[str]) -> None:
    if rest:
        raise ProcessError(f"A strongroom process does not know the argument {rest[0]!r}.")


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return "an unknown place"
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"


if __name__ == "__main__":
    sys.exit(main())
