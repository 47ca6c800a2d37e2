"""`keylease scan`: find keys on this machine. No account, no network; nothing leaves it.

With ``--push`` the report leaves it, which holds no key; with ``--verify`` a strongroom process
asks the providers of found keys about them.
"""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

import keylease
from keylease.cli import output
from keylease.cli.options import ApiKeyFile, ConfigDir, DataDir, Server, settings_from
from keylease.contracts.findings import Confidence, Liveness, ScanReport
from keylease.discovery.baseline import new_baseline, read_baseline, write_baseline
from keylease.discovery.formats.csv_format import to_csv
from keylease.discovery.formats.sarif import to_sarif
from keylease.discovery.formats.table import lines, summary
from keylease.discovery.git.command import Git, find_git
from keylease.discovery.machine import crontab, places
from keylease.discovery.scan import Progress, Surroundings, Wanted, scan
from keylease.errors import FingerprintKeyInvalid, ScanInvalid
from keylease.primitives import files
from keylease.primitives.clock import SystemClock
from keylease.primitives.fingerprints import (
    LOCAL_KEY_FILE,
    FingerprintKeys,
    local_keys,
    read_keys,
)
from keylease.settings import process_environment

if TYPE_CHECKING:
    from keylease.discovery.cluster.reading import Cluster

FOUND_STATUS: Final = 3
"""Something at or above ``--fail-on`` was found."""
INCOMPLETE_STATUS: Final = 4
"""Nothing that fails was found, and not everything could be read."""
INTERRUPTED_STATUS: Final = 130
_STATES: Final = "scanner"
_PROGRESS_SECONDS: Final = 0.2
_FIRST_PROGRESS_SECONDS: Final = 1.0
_MOST_PROBLEMS: Final = 10
_MOST_PROCESSES: Final = 8
_RANK: Final = {Confidence.HIGH: 0, Confidence.MEDIUM: 1, Confidence.LOW: 2}


class ReportFormat(StrEnum):
    """How the report is written."""

    TABLE = "table"
    JSON = "json"
    SARIF = "sarif"
    CSV = "csv"


class FailOn(StrEnum):
    """Which new findings make the exit status 3: live ones, or those of a confidence or higher."""

    LIVE = "live"
    HIGH = "high"
    MEDIUM = "medium"
    ANY = "any"


_LEAST: Final = {
    FailOn.HIGH: Confidence.HIGH,
    FailOn.MEDIUM: Confidence.MEDIUM,
    FailOn.ANY: Confidence.LOW,
}


def command(  # noqa: PLR0913 - one parameter per option of the command
    *,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files and directories; default: here."),
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Also the git history of the repositories met.")
    ] = False,
    full: Annotated[
        bool,
        typer.Option("--full", help="With --history: also what the last scan looked at."),
    ] = False,
    staged: Annotated[
        bool,
        typer.Option("--staged", help="Only what is new in the next commit, for pre-commit hooks."),
    ] = False,
    machine: Annotated[
        bool,
        typer.Option(
            "--machine",
            help="The user's configuration, histories, crontabs, units, process environments.",
        ),
    ] = False,
    cluster: Annotated[
        str | None,
        typer.Option(
            metavar="CONTEXT",
            help="Also a Kubernetes cluster: a context of the kubeconfig, or `current`.",
            show_default=False,
        ),
    ] = None,
    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Default: $KUBECONFIG, ~/.kube/config.", show_default=False
        ),
    ] = None,
    report_format: Annotated[
        ReportFormat, typer.Option("--format", help="How the report is written.")
    ] = ReportFormat.TABLE,
    report_file: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write it there.", show_default=False),
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Findings that are known.", show_default=False),
    ] = None,
    write_baseline_to: Annotated[
        Path | None,
        typer.Option(
            "--write-baseline",
            metavar="FILE",
            help="Make what is found known.",
            show_default=False,
        ),
    ] = None,
    fail_on: Annotated[
        FailOn | None,
        typer.Option(
            help="Exit with status 3 for new findings of this confidence or a higher one; `live`: "
            "for those that --verify finds to work.",
            show_default=False,
        ),
    ] = None,
    include_ignored: Annotated[
        bool, typer.Option("--include-ignored", help="Also what ignore files leave out.")
    ] = False,
    include_examples: Annotated[
        bool, typer.Option("--include-examples", help="Also placeholders and examples.")
    ] = False,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Ask the providers of found keys whether they work."),
    ] = False,
    verify_in_ci: Annotated[
        bool, typer.Option("--verify-in-ci", help="Allow --verify where CI is set.")
    ] = False,
    fingerprint_key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The organization's fingerprint key; default: one of this machine.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, max=64, help="Processes that share the work; 0: as many as CPUs."
        ),
    ] = 0,
    push: Annotated[
        bool, typer.Option("--push", help="Send the report, without any key, to the inventory.")
    ] = False,
    server: Server = "",
    api_key_file: ApiKeyFile = None,
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Find AI keys and other secrets in files, git history and configuration.

    Exit status: 0 all was read; 3 something at or above --fail-on was found; 4 some of it could
    not be read; 130 interrupted, and what was found is in the report.
    """
    if staged and (history or machine or cluster):
        raise ScanInvalid("--staged looks at the next commit only.", advice="Leave the others out.")
    if fail_on is FailOn.LIVE and not verify:
        raise ScanInvalid("Which keys are live is not known without --verify.", advice="Add it.")
    if push:
        from keylease.cli.scan_push import check_push  # noqa: PLC0415 - an HTTP client is slow

        check_push(staged=staged, server=server, api_key_file=api_key_file)
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    environment = process_environment()
    if verify:
        from keylease.cli.scan_verification import StrongroomVerifier, check_verify  # noqa: PLC0415 - seldom

        check_verify(in_ci=verify_in_ci, environment=environment)
    home = Path(environment.get("HOME") or "/")
    known = read_baseline(baseline) if baseline else (new_baseline() if write_baseline_to else None)
    roots = paths or ([] if machine or cluster else [Path()])
    wanted = Wanted(
        roots=tuple((os.path.abspath(path), str(path)) for path in roots),  # noqa: PTH100 - keeps links
        history=history,
        staged=staged,
        machine=tuple(places(home, environment, user=os.geteuid())) if machine else (),
        crontab=crontab(environment, user=os.geteuid()) if machine else None,
        cluster=_cluster(cluster, kubeconfig, home, environment) if cluster else None,
        include_ignored=include_ignored,
        with_examples=include_examples,
    )
    git = find_git(environment)
    surroundings = Surroundings(
        clock=SystemClock(),
        keys=_keys(fingerprint_key, settings.config_dir),
        git=git,
        home=home,
        host=platform.node(),
        # What a scan of a history leaves for the next has no keys, which --verify needs.
        states=None if full or verify else settings.data_dir / _STATES,
        detectors=_detectors_revision() if history else "",
        processes=processes or min(os.cpu_count() or 1, _MOST_PROCESSES),
        global_ignore_files=_global_ignore_files(git, home, environment),
        baseline=known,
        verifier=StrongroomVerifier(settings) if verify else None,
    )
    meter = _Meter()
    report = scan(wanted, surroundings, progress=meter.show)
    meter.clear()
    _write(report, report_format, report_file)
    _talk(report, to_terminal=report_format is ReportFormat.TABLE)
    if write_baseline_to and known:
        if report.interrupted:
            output.warn("The baseline was not written: the scan was interrupted.")
        else:
            write_baseline(write_baseline_to, known.of(report.findings))
    if push:
        from keylease.cli.scan_push import is_shared, push_scan  # noqa: PLC0415 - as above

        shared = is_shared(fingerprint_key, settings)
        push_scan(report, shared=shared, server=server, api_key_file=api_key_file)
    return status_of(report, fail_on)


def status_of(report: ScanReport, fail_on: FailOn | None) -> int:
    """The exit status that says what happened."""
    if report.interrupted:
        return INTERRUPTED_STATUS
    if fail_on is FailOn.LIVE:
        if any(f.liveness is Liveness.LIVE and not f.known for f in report.findings):
            return FOUND_STATUS
    elif fail_on is not None:
        least = _RANK[_LEAST[fail_on]]
        if any(_RANK[f.confidence] <= least and not f.known for f in report.findings):
            return FOUND_STATUS
    return 0 if report.complete else INCOMPLETE_STATUS


def _keys(file: Path | None, config_dir: Path) -> FingerprintKeys:
    if file is None:
        return local_keys(config_dir / LOCAL_KEY_FILE)
    try:
        return read_keys(file)
    except FileNotFoundError:
        raise FingerprintKeyInvalid(
            f"There is no fingerprint key at {file}.",
            advice="`keylease fingerprint-key create FILE` makes one.",
        ) from None


def _cluster(
    context: str, kubeconfig: Path | None, home: Path, environment: dict[str, str]
) -> Cluster:
    from keylease.discovery.cluster.kubeconfig import read_kubeconfig  # noqa: PLC0415 - as below
    from keylease.discovery.cluster.reading import Cluster  # noqa: PLC0415 - an HTTP client is slow

    named = [Path(part) for part in environment.get("KUBECONFIG", "").split(":") if part]
    paths = [kubeconfig] if kubeconfig else named or [home / ".kube" / "config"]
    return Cluster(read_kubeconfig(paths, "" if context == "current" else context, environment))


def _write(report: ScanReport, report_format: ReportFormat, file: Path | None) -> None:
    if file is None and report_format is ReportFormat.TABLE:
        for line in lines(report):
            output.emit(output.printable(line))
        return
    text = _text(report, report_format)
    if file is None:
        sys.stdout.write(text)
        return
    try:
        # Not atomic and not private on purpose: it may be a pipe, and it holds no secret.
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise files.explained(error, file) from None


def _text(report: ScanReport, report_format: ReportFormat) -> str:
    if report_format is ReportFormat.CSV:
        return to_csv(report)
    if report_format is ReportFormat.TABLE:
        return "\n".join([*map(output.printable, lines(report)), summary(report), ""])
    value: Any = to_sarif(report) if report_format is ReportFormat.SARIF else report
    return output.json_text(value) + "\n"


def _talk(report: ScanReport, *, to_terminal: bool) -> None:
    """What a person wants to know beside the findings, on stderr."""
    for problem in report.problems[:_MOST_PROBLEMS]:
        count = f" ({problem.count} times)" if problem.count > 1 else ""
        output.warn(output.printable(f"{problem.path}: {problem.message}{count}"))
    if len(report.problems) > _MOST_PROBLEMS:
        output.say(f"... and {len(report.problems) - _MOST_PROBLEMS} further places.")
    if report.interrupted:
        output.warn("Interrupted: this is what was found until then.")
    output.say(summary(report))
    if report.counts.ignored:
        output.say(
            f"Left out because an ignore file names them: {report.counts.ignored} files and "
            "directories; --include-ignored reads them."
        )
    new = [finding for finding in report.findings if not finding.known]
    if to_terminal and any(finding.confidence is not Confidence.LOW for finding in new):
        output.hint(
            "Revoke a key where it was issued first; then take it out. A key in the history stays "
            "exposed when the file is gone."
        )


def _global_ignore_files(
    git: Git | None, home: Path, environment: dict[str, str]
) -> tuple[Path, ...]:
    named = git.user_setting("core.excludesFile") if git else ""
    base = environment.get("XDG_CONFIG_HOME") or str(home / ".config")
    return (Path(named) if named else Path(base) / "git" / "ignore",)


def _detectors_revision() -> str:
    """Changes whenever a detector or a source does, so that a history is looked at anew."""
    digest = hashlib.sha256(keylease.__version__.encode())
    package = Path(keylease.__file__).parent
    folders = (package / "detectors", package / "discovery" / "sources")
    for file in sorted(file for folder in folders for file in folder.rglob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


class _Meter:
    """One line on a terminal that says how far it is, when it takes longer."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = now() + _FIRST_PROGRESS_SECONDS - _PROGRESS_SECONDS
        self._shown = False
        self._on = sys.stderr.isatty()

    def show(self, progress: Progress) -> None:
        now = self._now()
        if not self._on or now - self._last < _PROGRESS_SECONDS:
            return
        self._last, self._shown = now, True
        objects = f", {progress.objects} git objects" if progress.objects else ""
        sys.stderr.write(
            f"\r\x1b[K{progress.files} files{objects}, {progress.bytes // 1_000_000} MB, "
            f"{progress.secrets} places with secrets"
        )
        sys.stderr.flush()

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
