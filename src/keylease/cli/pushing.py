"""Sends a scan's report to the inventory: in parts, again when it must, and nothing but it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Final, TypeAlias

import msgspec

from keylease.cli.platform_connection import PlatformConnection
from keylease.contracts.findings import Finding, Mention, ReadProblem, ScanReport
from keylease.errors import ApiProblem, ServerUnreachable

PART_BYTES: Final = 2 * 1024 * 1024
"""Of a part's findings as JSON. Far below what the platform takes: one part is one transaction."""
PUSH_SECONDS: Final = 120.0
"""For one part and its answer."""
_LOCATIONS_AT_ONCE: Final = 1000
_WAITS: Final = (1.0, 2.0, 4.0, 8.0)
"""Seconds before a part is sent again."""
_TRANSIENT: Final = frozenset(
    {
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)
_PATH: Final = "/v1/inventory/scans"
_Item: TypeAlias = Finding | Mention | ReadProblem


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """What the parts of a report changed, all together."""

    parts: int = 0
    new_secrets: int = 0
    new_locations: int = 0
    seen_again: int = 0
    removed: int = 0
    merged: int = 0


def push(
    api: PlatformConnection,
    report: ScanReport,
    *,
    query: Mapping[str, str] | None = None,
    progress: Callable[[int, int], None] = lambda _sent, _of: None,
    sleep: Callable[[float], None] = time.sleep,
) -> Pushed:
    """Send the report. Sent again it changes nothing, so that it can be repeated after any error.

    Raises ``ApiProblem`` when the platform refuses it, ``ServerUnreachable`` when it stays away.
    """
    parts = parts_of(report)
    total = Pushed()
    began = report.started_at
    for number, unsent in enumerate(parts, start=1):
        last = number == len(parts)
        progress(number - 1, len(parts))
        # The platform's view of when the scan began, which is what makes the parts one scan.
        part = msgspec.structs.replace(unsent, started_at=began)
        answer = _sent(api, part, {**(query or {}), "more": "" if last else "true"}, sleep)
        began = int(answer["seen_at"])
        total = Pushed(
            parts=number,
            **{
                name: getattr(total, name) + int(answer[name])
                for name in Pushed.__struct_fields__
                if name != "parts"
            },
        )
    progress(len(parts), len(parts))
    return total


def parts_of(report: ScanReport, *, maximum: int = PART_BYTES) -> list[ScanReport]:
    """Reports that together say what this one says, each of about ``maximum`` bytes at most."""
    parts: list[list[_Item]] = [[]]
    size = 0
    for item in _items(report):
        more = len(msgspec.json.encode(item))
        if parts[-1] and size + more > maximum:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += more
    return [
        msgspec.structs.replace(
            report,
            findings=tuple(item for item in items if isinstance(item, Finding)),
            mentions=tuple(item for item in items if isinstance(item, Mention)),
            problems=tuple(item for item in items if isinstance(item, ReadProblem)),
            practices=report.practices if number == 0 else (),
        )
        for number, items in enumerate(parts)
    ]


def _items(report: ScanReport) -> Iterator[_Item]:
    for finding in report.findings:
        yield from _pieces(finding)
    yield from report.mentions
    yield from report.problems


def _pieces(finding: Finding) -> Sequence[Finding]:
    # The platform joins the pieces by their fingerprint; a finding without one stays whole.
    if not finding.fingerprints or len(finding.locations) <= _LOCATIONS_AT_ONCE:
        return (finding,)
    return [
        msgspec.structs.replace(finding, locations=finding.locations[at : at + _LOCATIONS_AT_ONCE])
        for at in range(0, len(finding.locations), _LOCATIONS_AT_ONCE)
    ]


def _sent(
    api: PlatformConnection,
    part: ScanReport,
    query: Mapping[str, str],
    sleep: Callable[[float], None],
) -> Mapping[str, int]:
    for wait in _WAITS:
        try:
            return _once(api, part, query)
        except ServerUnreachable:
            sleep(wait)
        except ApiProblem as problem:
            if problem.status not in _TRANSIENT:
                raise
            sleep(wait)
    return _once(api, part, query)


def _once(api: PlatformConnection, part: ScanReport, query: Mapping[str, str]) -> Mapping[str, int]:
    taken: Mapping[str, int] = api.ask("POST", _PATH, query=query, body=part).body
    return taken
