"""How secrets, places and moments of the inventory are put into words, for its commands."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from keylease.cli import output
from keylease.errors import SettingsInvalid
from keylease.primitives import files
from keylease.primitives.clock import MICROSECONDS, isoformat
from keylease.strongroom.config_files.values import parse_duration

_KINDS: Final = {
    "ci_workflow": "CI workflow",
    "deployment": "deployment",
    "code": "code",
    "service": "service",
    "process": "process",
    "tool": "tool",
}
_KNOWN_BY: Final = {"seen_using": "seen", "holds_value": "holding", "named": "named"}
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


def consumer_words(one: Mapping[str, Any]) -> str:
    """``workload:evals: 12 calls, the last 2026-05-04 06:12``; or why it is taken for one."""
    if one["known_by"] == "seen_using":
        purpose = f" for {one['purpose']}" if one["purpose"] else ""
        calls = output.counted(one["calls"], "call")
        return f"{one['principal']}{purpose}: {calls}, the last {minute(one['last_used'])}"
    where = f" of {one['repository']}" if one["repository"] else ""
    environment = f" in {one['environment']}" if one["environment"] else ""
    said = "holds the value" if one["known_by"] == "holds_value" else one["evidence"]
    unsure = "ambiguous: " if one["ambiguous"] else ""
    since = f"since {day(one['first_seen'])}"
    gone = f" until {day(one['removed_at'])}" if one["removed_at"] else ""
    whose = f"; perhaps of {one['owner_candidates'][0]}" if one["owner_candidates"] else ""
    what = f"{_KINDS[one['kind']]} {one['name']}{where}{environment}"
    return f"{what}: {unsure}{said}, {since}{gone}{whose}"


def consumer_counts(consumers: Iterable[Mapping[str, Any]]) -> str:
    """``1 seen, 3 named``: how many use a secret now, by how that is known."""
    counts = Counter(one["known_by"] for one in consumers if not one["removed_at"])
    return ", ".join(
        f"{counts[known_by]} {word}" for known_by, word in _KNOWN_BY.items() if counts[known_by]
    )


def stands_for_words(secrets: Iterable[Mapping[str, Any]]) -> str:
    """The secrets that a name is linked with; a question mark is on what is ambiguous."""
    return ", ".join(f"{one['secret_id']}{'?' if one['ambiguous'] else ''}" for one in secrets)


def believed_words(one: Mapping[str, Any]) -> str:
    """A place that keeps a value under a name that is linked with the secret."""
    unsure = "ambiguous: " if one["ambiguous"] else ""
    return f"{place_words(one['place'])}: {unsure}{one['evidence']}"


def reported_words(one: Mapping[str, Any]) -> str:
    """``openai-prod, version v3, by a gateway on 2026-05-04 06:12``."""
    name = one["name"] or one["credential_id"]
    version = f", version {one['credential_version']}" if one["credential_version"] else ""
    return f"{name}{version}, by a gateway on {minute(one['last_reported'])}"


def live_words(live: bool | None) -> str:  # noqa: FBT001 - three states of one member
    """Whether it works, as far as is known."""
    return {True: "live", False: "dead", None: "not checked"}[live]


def write_out(content: bytes, file: Path | None) -> None:
    """Write a document to a file, or to stdout; to a terminal as text that cannot steer it."""
    if file is None and sys.stdout.isatty():
        output.emit(content.decode("utf-8", "replace").replace("\r\n", "\n").rstrip("\n"))
        return
    if file is None:
        sys.stdout.flush()
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
        return
    try:
        file.write_bytes(content)
    except OSError as error:
        raise files.explained(error, file) from None
