"""`keylease scan --push`: what is asked before the scan, and what is said after it."""

from __future__ import annotations

import sys
from pathlib import Path

from keylease.cli import output
from keylease.cli.platform_connection import connected
from keylease.cli.pushing import PUSH_SECONDS, push
from keylease.contracts.findings import ScanReport
from keylease.errors import KeyleaseError, ScanInvalid
from keylease.primitives.fingerprints import LOCAL_KEY_FILE
from keylease.settings import Settings
from keylease.strongroom.config_files.gateway_file import load_gateway


def check_push(*, staged: bool, server: str, api_key_file: Path | None) -> None:
    """Say what cannot be pushed before a long scan, not after it. Asks the network nothing."""
    if staged:
        raise ScanInvalid(
            "--staged looks at the next commit only; the inventory knows what is there.",
            advice="Push a scan without --staged.",
        )
    with connected(server, api_key_file):
        pass


def is_shared(fingerprint_key: Path | None, settings: Settings) -> bool:
    """Whether others make fingerprints with the key of this scan, as far as that can be told.

    Without ``fingerprint_key`` it is this machine's own, which a gateway on it may have as well.
    """
    if fingerprint_key is not None:
        return True
    try:
        platform = load_gateway(settings.gateway_file).platform
    except KeyleaseError:
        return False  # a machine without a gateway, or one whose owner is told elsewhere
    if platform is None or not platform.fingerprint_key_file:
        return False
    own = settings.config_dir / LOCAL_KEY_FILE
    return Path(platform.fingerprint_key_file).resolve() == own.resolve()


def push_scan(report: ScanReport, *, shared: bool, server: str, api_key_file: Path | None) -> None:
    """Send a report and say what it changed. ``shared`` is the fingerprint key's nature."""
    if report.interrupted:
        output.warn("The report was not pushed: the scan was interrupted.")
        return
    with connected(server, api_key_file, seconds=PUSH_SECONDS) as api:
        pushed = push(api, report, progress=_show)
    output.say(
        f"Pushed: {output.counted(pushed.new_secrets, 'new secret')}, "
        f"{output.counted(pushed.new_locations, 'new location')}, {pushed.seen_again} seen again, "
        f"{pushed.removed} removed."
    )
    if not report.complete:
        output.say("Nothing was taken out of the inventory: not everything could be read.")
    if not shared and report.findings:
        output.warn(
            "The fingerprints are made with this machine's own key, so the same secret found on "
            "another machine is not recognised."
        )
        output.hint("Scan with the organization's: --fingerprint-key FILE.")


def _show(sent: int, of: int) -> None:
    if of > 1 and sys.stderr.isatty():
        ending = "\r\x1b[K" if sent == of else ""
        sys.stderr.write(f"\r\x1b[KPushing: {sent} of {of} parts{ending}")
        sys.stderr.flush()
