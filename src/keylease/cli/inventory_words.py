"""How secrets, places and moments of the inventory are put into words, for its commands."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from keylease.cli import output
from keylease.errors import SettingsInvalid
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS, isoformat
from keylease.strongroom.config_files.values import parse_duration

_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""What spreadsheets take for a formula at the start of a cell."""
_MINUTES_OF: Final = 16
"""Characters of a moment up to its minutes."""


def day(moment: int | None) -> str | None:
    """``2026-05-04``."""
    return isoformat(moment)[:10] if moment else None


def minute(moment: int | None) -> str | None:
    """``2026-05-04 06:12``, UTC."""
    return isoformat(moment)[:_MINUTES_OF].replace("T", " ") if moment else None


def moment_of(text: str, *, now: int, ahead: bool = False) -> int:
    """Microseconds UTC of a date, a time, or a duration such as ``30d`` from now.

    A duration lies in the past, with ``ahead`` in the future. Raises ``SettingsInvalid``.
    """
    try:
        seconds = parse_duration(text)
    except ValueError:
        seconds = 0
    if seconds:
        return now + round(seconds * MICROSECONDS) * (1 if ahead else -1)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsInvalid(
            f"{text!r} is no time.", advice="Such as 2026-05-04, 2026-05-04T06:12Z or 30d."
        ) from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()) * (
        MICROSECONDS
    )


def secret_words(secret: Mapping[str, Any]) -> str:
    """``openai project key sk-...a1b2``."""
    return " ".join(filter(None, (secret["provider"], secret["kind"], secret["masked"])))


def place_words(place: Mapping[str, Any]) -> str:
    """``~/app/.env:3 (OPENAI_API_KEY) in laptop:~/app``."""
    location = place["location"]
    line = f":{location['line']}" if location.get("line") else ""
    name = f" ({location['name']})" if location.get("name") else ""
    history = ", in the history only" if location.get("in_history_only") else ""
    gone = f", removed {day(place['removed_at'])}" if place["removed_at"] else ""
    return f"{location['path']}{line}{name} in {place['source']}{history}{gone}"


def use_words(use: Mapping[str, Any]) -> str:
    """``workload:evals: 12 calls, the last 2026-05-04 06:12``."""
    purpose = f" for {use['purpose']}" if use["purpose"] else ""
    calls = output.counted(use["calls"], "call")
    return f"{use['principal']}{purpose}: {calls}, the last {minute(use['last_used'])}"


def reported_words(one: Mapping[str, Any]) -> str:
    """``openai-prod, version v3, by a gateway on 2026-05-04 06:12``."""
    name = one["name"] or one["credential_id"]
    version = f", version {one['credential_version']}" if one["credential_version"] else ""
    return f"{name}{version}, by a gateway on {minute(one['last_reported'])}"


def live_words(live: bool | None) -> str:  # noqa: FBT001 - three states of one member
    """Whether it works, as far as is known."""
    return {True: "live", False: "dead", None: "not checked"}[live]


def harmless(cell: object) -> str:
    """A cell that no spreadsheet takes for a formula."""
    text = "" if cell is None else str(cell)
    return f"'{text}" if text.startswith(_FORMULA) else text


def write_out(content: bytes, file: Path | None) -> None:
    """Write a document to a file, or to stdout."""
    if file is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise files.explained(error, file) from None
