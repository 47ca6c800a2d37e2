"""Runs the definitions over a text."""

from __future__ import annotations

import string
from collections.abc import Iterator
from typing import Final

import msgspec

from keylease.detectors.definition import Definition
from keylease.detectors.definitions import ALL

NEARBY: Final = 200
"""Characters before and after a match in which a secret that belongs to it is looked for."""
MASKED: Final = tuple(definition for definition in ALL if not definition.scan_only)
LABELS: Final = tuple(definition.label or definition.provider for definition in MASKED)
_ESCAPED_LETTERS: Final = frozenset("nrtbf")
_WORD: Final = frozenset(string.ascii_letters + string.digits + "_")
"""A letter of another script ends a word: no key continues it."""
_HEX: Final = frozenset("0123456789abcdefABCDEF")


class Finding(msgspec.Struct, frozen=True, order=True):
    """Where something that looks like a secret stands in a text."""

    start: int
    end: int
    kind: str
    """``openai``, ``aws``, ... as in the replacement ``[secret:openai]``."""

    @property
    def replacement(self) -> str:
        """What stands in the secret's place."""
        return f"[secret:{self.kind}]"


def find(text: str) -> list[Finding]:
    """Every secret in the text, in order; overlapping ones are joined under the clearer kind."""
    spans: list[tuple[int, int, int]] = []
    for rank, definition in enumerate(MASKED):
        for literal in definition.literals:
            if literal in text:
                spans.extend((start, end, rank) for start, end in _spans(definition, literal, text))
    if not spans:
        return []
    spans.sort()
    joined: list[tuple[int, int, int]] = []
    for start, end, rank in spans:
        if joined and start < joined[-1][1]:
            first, last, best = joined[-1]
            joined[-1] = (first, max(last, end), min(best, rank))
        else:
            joined.append((start, end, rank))
    return [Finding(start, end, LABELS[rank]) for start, end, rank in joined]


def mask(text: str) -> tuple[str, list[Finding]]:
    """Replace every secret by ``[secret:kind]``; the findings refer to the original text."""
    findings = find(text)
    if not findings:
        return text, findings
    pieces = []
    position = 0
    for finding in findings:
        pieces += [text[position : finding.start], finding.replacement]
        position = finding.end
    pieces.append(text[position:])
    return "".join(pieces), findings


def looks_like_secret(text: str) -> bool:
    """Whether any part of the text would be masked."""
    return bool(find(text))


def _spans(definition: Definition, literal: str, text: str) -> Iterator[tuple[int, int]]:
    position = text.find(literal)
    while position >= 0:
        following = position + len(literal)
        span = span_at(definition, text, position)
        if span is not None:
            start, end, accepted = span
            if accepted:
                yield start, end
                yield from nearby(definition, text, start, end)
            if accepted or definition.reads_on:
                # What was read is not read again, so that a long run costs its length once.
                following = max(following, end)
        position = text.find(literal, following)


def span_at(definition: Definition, text: str, position: int) -> tuple[int, int, bool] | None:
    """The secret whose literal stands at ``position``: start, end, and whether it is accepted."""
    begin = position - definition.offset
    if begin < 0 or (definition.boundary and not at_boundary(text, begin)):
        return None
    at = definition.at
    if at is not None and not definition.at_late and not at(text, position):
        return None
    match = definition.pattern.match(text, begin)
    if match is None:
        return None
    if at is not None and definition.at_late and not at(text, position):
        return None
    group = "secret" if "secret" in definition.pattern.groupindex else 0
    start, end = match.span(group)
    if definition.accept is not None and not definition.accept(match[group]):
        return start, end, False
    if definition.extend is not None:
        end = definition.extend(text, end)
    return start, end, True


def nearby(definition: Definition, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The secrets without a form of their own that belong to one that has."""
    if definition.nearby is None:
        return
    low = max(0, start - NEARBY)
    for match in definition.nearby.finditer(text, low, min(len(text), end + NEARBY)):
        if definition.nearby_accept is None or definition.nearby_accept(match[0]):
            yield match.span()


def at_boundary(text: str, position: int) -> bool:
    """Whether a word could begin here, also after a JSON escape or a URL escape."""
    before = text[max(0, position - 6) : position]
    if not before or before[-1] not in _WORD:
        return True
    if before[-2:-1] == "\\" and before[-1] in _ESCAPED_LETTERS:
        return True
    if before[-3:-2] == "%" and _HEX.issuperset(before[-2:]):
        return True
    return before[:2] == "\\u" and _HEX.issuperset(before[2:])
