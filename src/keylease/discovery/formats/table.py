"""The report for a person: one credential a block, its places below it, what to do at the end."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import groupby
from typing import Final

from keylease.contracts.findings import (
    Appearance,
    Confidence,
    Finding,
    Liveness,
    Location,
    Mention,
    ScanReport,
)
from keylease.discovery.formats.belonging import belonging

_MOST_PLACES: Final = 12
"""Places shown of one secret, and of one name; JSON and CSV have all."""
_MOST_POSSIBLE: Final = 20
"""Findings of low confidence that are shown: they are to draw attention, not to bury the rest."""
_MICROSECONDS: Final = 1_000_000
_KINDS: Final = {"file": "", "file_name": "in the file's name"}
_CLEAR: Final = frozenset({Liveness.LIVE, Liveness.DEAD})
_HEADINGS: Final = {
    Confidence.HIGH: "Secrets",
    Confidence.MEDIUM: "Probable secrets",
    Confidence.LOW: "Possible secrets, and public identifiers",
}


def lines(report: ScanReport) -> Iterator[str]:
    """The report line by line; an empty line parts blocks."""
    new = [finding for finding in report.findings if not finding.known]
    for confidence, group in groupby(new, key=lambda finding: finding.confidence):
        found = list(group)
        shown = found[:_MOST_POSSIBLE] if confidence is Confidence.LOW else found
        yield _HEADINGS[confidence]
        yield ""
        for finding in shown:
            yield from _finding(finding)
            yield ""
        if len(shown) < len(found):
            yield f"  and {len(found) - len(shown)} more; --format json has them all"
            yield ""
    if report.mentions:
        yield "Named here, kept elsewhere"
        yield ""
        for name, mentions in groupby(report.mentions, key=lambda mention: mention.name):
            yield from _mentions(name, list(mentions))
        yield ""
    if report.practices:
        yield "Without a stored secret"
        yield ""
        for practice in report.practices:
            yield f"  {practice.name}  {_where(practice.location)}"
        yield ""


def _finding(finding: Finding) -> Iterator[str]:
    title = (
        finding.kind if finding.provider in finding.kind else (f"{finding.provider} {finding.kind}")
    )
    count = len(finding.locations)
    places = f"{count} places" if count > 1 else "1 place"
    nature = f"  [{finding.nature}]" if finding.nature != "candidate" else ""
    identifier = f"  id {finding.key_id}" if finding.key_id else ""
    alive = f"  {finding.liveness.value.upper()}" if finding.liveness in _CLEAR else ""
    yield f"  {title}  {finding.masked}{identifier}  {places}{nature}{alive}"
    for location in finding.locations[:_MOST_PLACES]:
        yield f"    {_where(location)}{_about(location)}"
    if count > _MOST_PLACES:
        yield f"    and {count - _MOST_PLACES} more"
    owners = dict.fromkeys(
        f"{owner.owner} ({owner.reason})"
        for location in finding.locations
        for owner in location.owner_candidates
    )
    if finding.liveness in _CLEAR:
        yield f"    {finding.liveness_reason} {belonging(finding.belongs_to)}".rstrip()
    elif finding.liveness and finding.confidence is not Confidence.LOW:
        yield f"    not verified: {finding.liveness_reason}"
    if owners:
        yield f"    ask: {', '.join(list(owners)[:3])}"


def _mentions(name: str, mentions: list[Mention]) -> Iterator[str]:
    yield f"  {name}  {mentions[0].provider}"
    for mention in mentions[:_MOST_PLACES]:
        environment = mention.location.environment
        about = ", ".join(filter(None, (mention.reason, mention.location.detail, environment)))
        yield f"    {_where(mention.location)}  {about}"
    if len(mentions) > _MOST_PLACES:
        yield f"    and {len(mentions) - _MOST_PLACES} more"


def _where(location: Location) -> str:
    place = f"{location.path}:{location.line}" if location.line else location.path
    return f"{place}:{location.column}" if location.line and location.column > 1 else place


def _about(location: Location) -> str:
    kind = _KINDS.get(location.kind.value, location.kind.value.replace("_", " "))
    past = ""
    if location.in_history_only:
        past = f"in history only, {_commit('added', location.first)}"
        if location.removed:
            past += f", {_commit('removed', location.removed)}"
    elif location.first:
        past = _commit("since", location.first)
    parts = (location.name, location.detail, kind, location.environment, past)
    about = ", ".join(filter(None, (part.strip(" ,") for part in parts)))
    return f"  {about}" if about else ""


def _commit(word: str, appearance: Appearance | None) -> str:
    if appearance is None:
        return ""
    day = datetime.fromtimestamp(appearance.at // _MICROSECONDS, tz=UTC).date()
    return f"{word} {day} in {appearance.commit[:10]}"


def summary(report: ScanReport) -> str:
    """One sentence about the whole."""
    counts = {
        confidence: sum(1 for f in report.findings if f.confidence is confidence and not f.known)
        for confidence in Confidence
    }
    known = sum(1 for finding in report.findings if finding.known)
    found = sum(counts.values())
    parts = [
        f"{counts[confidence]} {confidence.value}"
        for confidence in (Confidence.HIGH, Confidence.MEDIUM, Confidence.LOW)
        if counts[confidence]
    ]
    text = f"{found} secret{'' if found == 1 else 's'}"
    if parts:
        text += f" ({', '.join(parts)} confidence)"
    if known:
        text += f", {known} known"
    seconds = (report.finished_at - report.started_at) / _MICROSECONDS
    looked = f"{report.counts.files} files"
    if report.counts.git_objects:
        looked += f" and {report.counts.git_objects} git objects"
    megabytes = report.counts.bytes / 1_000_000
    return f"{text} in {looked}, {megabytes:.1f} MB, {seconds:.1f} s"
