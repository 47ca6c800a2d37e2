"""The console entry: a table of commands, each loaded when it is used.

A command module exports ``app`` (a ``typer.Typer``) or ``command`` (a function that typer can
read). It raises ``KeyleaseError``, and may return its exit status; this module is the one place
where errors become messages and exit statuses. The list of commands is printed without importing
any of them, so that ``keylease --help`` is fast.
"""

from __future__ import annotations

import difflib
import importlib
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import keylease
from keylease.cli import output
from keylease.errors import KeyleaseError
from keylease.primitives import files, standard_streams

if TYPE_CHECKING:
    import typer


class CommandEntry(NamedTuple):
    """Where a command is, and what it is for."""

    module: str
    help: str


COMMANDS: Final = {
    "up": CommandEntry("keylease.cli.up", "Start the product on this machine and keep it running."),
    "demo": CommandEntry("keylease.cli.demo", "Show a first call with a simulated provider."),
    "login": CommandEntry("keylease.cli.login", "Sign in to the platform."),
    "logout": CommandEntry("keylease.cli.logout", "Sign out of the platform."),
    "whoami": CommandEntry("keylease.cli.whoami", "Say as whom commands act."),
    "run": CommandEntry("keylease.cli.run", "Run a program whose provider SDKs get fresh leases."),
    "lease": CommandEntry("keylease.cli.lease", "Create and revoke leases."),
    "secret": CommandEntry("keylease.cli.secret", "Keep secrets in the sealed store."),
    "policy": CommandEntry("keylease.cli.policy", "Check, compare and publish the policy."),
    "credential": CommandEntry("keylease.cli.credential", "Say where secrets live."),
    "route": CommandEntry("keylease.cli.route", "Say which credentials serve which models."),
    "grant": CommandEntry("keylease.cli.grant", "Say who may use which models."),
    "budget": CommandEntry("keylease.cli.budget", "Say how much grants may cost together."),
    "trust-rule": CommandEntry(
        "keylease.cli.trust_rule", "Say whose tokens are exchanged for leases."
    ),
    "calls": CommandEntry("keylease.cli.calls", "List and follow the calls that were made."),
    "traces": CommandEntry("keylease.cli.traces", "Find, read and annotate traces and spans."),
    "sql": CommandEntry("keylease.cli.sql", "Ask the spans in SQL."),
    "scan": CommandEntry("keylease.cli.scan", "Find keys in files, git history, configuration."),
    "inventory": CommandEntry(
        "keylease.cli.inventory", "Say where every key is, whose it is and who uses it."
    ),
    "vendor": CommandEntry("keylease.cli.vendor", "Say which outside tools were given keys."),
    "incident": CommandEntry("keylease.cli.incident", "Say what breaks if a vendor is breached."),
    "trust": CommandEntry("keylease.cli.trust", "Say who stores what secret, and how isolated."),
    "status": CommandEntry("keylease.cli.status", "Say whether it is up, and secrets are safe."),
    "fingerprint-key": CommandEntry(
        "keylease.cli.fingerprint_key", "Make and rotate the key that fingerprints are made with."
    ),
    "audit": CommandEntry("keylease.cli.audit", "Read the audit log, and verify it offline."),
    "doctor": CommandEntry("keylease.cli.doctor", "Say what protects the keys, and what does not."),
    "config": CommandEntry("keylease.cli.config", "Show the settings and where they come from."),
    "gateway": CommandEntry("keylease.cli.gateway", "Run the gateway alone, in the foreground."),
    "server": CommandEntry("keylease.cli.server", "Run the platform alone, in the foreground."),
    "simulator": CommandEntry("keylease.cli.simulator", "Run simulated providers."),
}
USAGE_STATUS: Final = 2
DEFECT_STATUS: Final = 70
"""EX_SOFTWARE of sysexits.h."""
INTERRUPTED_STATUS: Final = 128 + signal.SIGINT


class _UsageWrong(Exception):
    def __init__(self, message: str, *, advice: str) -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives its exit status."""
    remaining = list(sys.argv[1:] if arguments is None else arguments)
    return standard_streams.answered(lambda: _answer(remaining))


def _answer(remaining: list[str]) -> int:
    details = False
    try:
        while remaining and remaining[0] == "--debug":
            details = True
            remaining.pop(0)
        status = _dispatch(remaining)
        sys.stdout.flush()
    except KeyleaseError as error:
        output.show_error(error)
        return error.exit_status
    except _UsageWrong as error:
        output.say(f"error: {error.message}")
        output.hint(error.advice)
        return USAGE_STATUS
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except Exception as error:
        if isinstance(error, BrokenPipeError) and standard_streams.reader_has_gone():
            raise
        if isinstance(error, OSError) and error.errno in files.NO_SPACE:
            full = files.explained(error, Path(error.filename or "standard output"))
            output.show_error(full)
            return full.exit_status
        output.show_defect(error, details=details)
        return DEFECT_STATUS
    return status


def help_text() -> str:
    """What ``keylease --help`` prints."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name.ljust(width)}  {entry.help}" for name, entry in COMMANDS.items()]
    return "\n".join(
        [
            "Usage: keylease [--debug] COMMAND [OPTIONS] ...",
            "",
            "Provider keys stay in your own secret store; programs get short-lived leases.",
            "",
            "Commands:",
            *lines,
            "",
            "Options:",
            "  --version  Show the version and exit.",
            "  --debug    Show the traceback of an unexpected error.",
            "  --help     Show this list and exit.",
            "",
            "`keylease COMMAND --help` says more about a command.",
        ]
    )


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in {"--help", "-h", "help"}:
        output.emit(help_text())
        return 0 if arguments else USAGE_STATUS
    if arguments[0] in {"--version", "-V", "version"}:
        output.emit(f"keylease {keylease.__version__}")
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise _UsageWrong(_unknown(name), advice="`keylease --help` lists the commands.")
    return _run_command(name, COMMANDS[name], rest)


def _unknown(name: str) -> str:
    kind = "option" if name.startswith("-") else "command"
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    suggestion = f" Did you mean `{close[0]}`?" if close and kind == "command" else ""
    return f"There is no {kind} `{name}`.{suggestion}"


def _run_command(name: str, entry: CommandEntry, arguments: list[str]) -> int:
    import typer  # noqa: PLC0415 - the list of commands is printed without it
    from typer.main import get_command  # noqa: PLC0415 - as above

    module = importlib.import_module(entry.module)
    app = getattr(module, "app", None)
    if app is None:
        app = typer.Typer(add_completion=False)
        app.command(help=module.command.__doc__ or entry.help)(module.command)
    command = get_command(app)
    _make_plain(command)
    try:
        # Not command.main(), which ends the process itself when a reader has gone.
        with command.make_context(f"keylease {name}", arguments) as context:
            result = command.invoke(context)
    except typer.Exit as end:
        return end.exit_code
    except typer.Abort:
        return INTERRUPTED_STATUS
    except typer.TyperException as error:
        help_wanted = type(error).__name__ == "NoArgsIsHelpError"
        if help_wanted:
            output.say(error.format_message())
            return USAGE_STATUS
        raise _usage_wrong(error, f"keylease {name}") from error
    return result if isinstance(result, int) else 0


def _usage_wrong(error: typer.TyperException, command: str) -> _UsageWrong:
    """What typer says, without its library's words and without a key that was typed by mistake."""
    from keylease import detectors  # noqa: PLC0415 - heavy, and needed for this alone

    message = error.format_message().replace("Value error, ", "")
    message = message.replace(":\n\t", ": ").replace(",\n\t", ", ")
    context = getattr(error, "ctx", None)
    command = str(getattr(context, "command_path", command))
    return _UsageWrong(
        detectors.mask(message)[0], advice=f"`{command} --help` shows how it is used."
    )


def _make_plain(command: object) -> None:
    """Help is plain text: it is fast, readable everywhere and can be compared with the docs.

    In a list of commands each has its whole first sentence, over as many lines as it takes.
    """
    command.rich_markup_mode = None  # type: ignore[attr-defined]  # typer hides its command types
    for child in getattr(command, "commands", {}).values():
        child.short_help = child.short_help or first_sentence(child.help or "")
        _make_plain(child)


def first_sentence(text: str) -> str:
    """The first sentence of a help text, on one line."""
    paragraph = " ".join(text.split("\n\n", maxsplit=1)[0].split())
    sentence, end, _ = paragraph.partition(". ")
    return f"{sentence}." if end else paragraph


if __name__ == "__main__":
    sys.exit(main())
