"""From a place where a secret may begin to a proposal: form, checksum, name, nature, confidence."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from keylease.detectors.definition import Definition
from keylease.detectors.definitions import SHAPES
from keylease.detectors.definitions.generic import is_generated, is_telling, name_at
from keylease.detectors.engine import nearby, span_at
from keylease.detectors.naming import WINDOW, Nearness, Surroundings, attribute
from keylease.detectors.scanning import judging
from keylease.detectors.scanning.judging import Proposal
from keylease.detectors.scanning.matcher import BARE_GAP, RULES, Bare, Candidate

_NAME_BEFORE: Final = re.compile(
    r"""([A-Za-z_][A-Za-z0-9_.-]{0,60})["'`\\\])]{0,6}\s{0,4}(?:=>|:=|\?\?|\|\||==|=|:|,|>|%3D|%3A)"""
    r"""\s{0,8}["'`\\(\[]{0,6}\Z"""
)
_CONSTANT: Final = re.compile(
    r"""["']([A-Za-z][A-Za-z0-9_.-]{2,60})["']|\b([A-Z][A-Z0-9_]{3,60})\b"""
)
_PLAIN_NAMES: Final = frozenset({"value", "default", "content", "data", "values"})
_NAME_REACH: Final = 160
_LONGEST_NAME: Final = 24
_CORE: Final = re.compile(r"[A-Za-z0-9+/_.~=-]+")
_TOKEN: Final = re.compile(
    r"(?<![A-Za-z0-9+/_.=@-])[A-Za-z0-9+/-]{24,100}={0,2}(?![A-Za-z0-9+/_=-]|\.[A-Za-z0-9])"
)
_NO_SECRET_BEFORE: Final = re.compile(
    r"(?:sha-?\d{0,3}|md5|commit|hash|rev|revision|digest|checksum|integrity|etag|id|uuid|run"
    r"|artifact|version|blob|tree|ref|base|head|parent)[\"'\s:=@/_-]{0,6}\Z"
)
_ASSIGNMENT: Final = re.compile(r"""[=:(,]\s{0,8}["'`\\]{0,3}\Z""")
_WHOLE: Final = re.compile(r"[!-~]{16,512}")
_RANK_OF_KIND: Final = {shape.kind: number for number, shape in enumerate(SHAPES)}


class Place(NamedTuple):
    """Where in a text a rule found a value."""

    start: int
    end: int
    position: int
    """Where the rule's literal stands."""


def proposals(
    candidates: list[Candidate], text: str, *, title: str, outer: Surroundings | None
) -> Iterator[Proposal]:
    """Every secret at the candidates' places; they may overlap.

    ``outer`` is what stood around the text in the data that it was decoded from.
    """
    around = _Around(text, title, outer)
    read_until: dict[int, int] = {}
    for candidate in candidates:
        rule = RULES[candidate.rule]
        if isinstance(rule, Bare):
            low = max(candidate.start, read_until.get(candidate.rule, 0))
            yield from _bare(rule, low, candidate.end, around)
            read_until[candidate.rule] = max(low, candidate.end - _LONGEST_NAME)
            continue
        low = read_until.get(candidate.rule, 0)
        for position in _positions(rule, candidate, low, text):
            if position < read_until.get(candidate.rule, 0):
                continue
            read_until[candidate.rule] = position + 1
            span = span_at(rule, text, position)
            if span is None:
                continue
            start, end, accepted = span
            if accepted:
                yield from _confirmed(rule, Place(start, end, position), around)
            if accepted or rule.reads_on:
                read_until[candidate.rule] = max(end, position + 1)
    if outer is not None:
        yield from _whole(text, around)


def _positions(rule: Definition, candidate: Candidate, low: int, text: str) -> Iterator[int]:
    """Where the rule's literals stand in what its trigger covered, from ``low`` on."""
    if rule.trigger_reach == 0 and len(rule.literals) == 1:
        yield candidate.start + rule.offset
        return
    start = max(low, candidate.start)
    for match in _literals(candidate.rule).finditer(text, start, candidate.end):
        yield match.start()


@functools.cache
def _literals(number: int) -> re.Pattern[str]:
    rule = RULES[number]
    literals = () if isinstance(rule, Bare) else rule.literals
    return re.compile("|".join(map(re.escape, literals)))


class _Around:
    """Gives what stands around a place in a text."""

    def __init__(self, text: str, title: str, outer: Surroundings | None) -> None:
        self.text = text
        self.title = title
        self.outer = outer

    def of(self, start: int, end: int, name: str = "") -> Surroundings:
        name = name or name_before(self.text, start)
        before = self.text[max(0, start - WINDOW) : start]
        after = self.text[end : end + WINDOW]
        if self.outer is not None:
            name = name or self.outer.name
            before = f"{self.outer.before}\n{before}"
            after = f"{after}\n{self.outer.after}"
        return Surroundings(name=name, before=before, after=after, title=self.title)


def name_before(text: str, start: int) -> str:
    """The name that the value at ``start`` is assigned to, or nothing."""
    before = text[max(0, start - _NAME_REACH) : start]
    match = _NAME_BEFORE.search(before)
    if match is None:
        return ""
    if match[1].lower() not in _PLAIN_NAMES:
        return match[1]
    constants = _CONSTANT.findall(before[: match.start()])
    return next(filter(None, constants[-1]), "") if constants else match[1]


def _confirmed(rule: Definition, place: Place, around: _Around) -> Iterator[Proposal]:
    text = around.text
    value = text[place.start : place.end]
    if not rule.generic:
        surroundings = around.of(place.start, place.end)
        yield judging.of_definition(rule, place.start, value, surroundings)
        for start, end in nearby(rule, text, place.start, place.end):
            yield judging.of_pair(
                rule, start, text[start:end], key=value, around=around.of(start, end)
            )
        return
    name = name_at(text, place.position) if is_telling(name_at(text, place.position)) else ""
    surroundings = around.of(place.start, place.end, name)
    attribution = attribute(value, surroundings)
    if attribution.shape is None:
        core = _CORE.match(value)
        shorter = core[0].rstrip(".~_-") if core is not None else value
        if shorter != value:
            again = attribute(shorter, surroundings)
            if again.shape is not None:
                value, attribution = shorter, again
    yield judging.of_generic(rule, place.start, value, surroundings, attribution)


def _bare(rule: Bare, low: int, high: int, around: _Around) -> Iterator[Proposal]:
    text = around.text
    for name in rule.names.finditer(text, low, high):
        for token in _TOKEN.finditer(text, name.end(), name.end() + BARE_GAP + 104):
            start, end = token.span()
            gap = text[name.end() : start]
            if len(gap) > BARE_GAP or gap.count("\n") > 3:  # noqa: PLR2004 - lines
                break
            if _NO_SECRET_BEFORE.search(gap[-20:].lower()) or not is_generated(token[0]):
                continue
            surroundings = around.of(start, end)._replace(
                name="", before=text[name.start() : start]
            )
            attribution = attribute(token[0], surroundings)
            if attribution.shape is not None and attribution.shape.bare:
                assigned = _ASSIGNMENT.search(gap) is not None
                sure = assigned and ("\n" not in gap or is_telling(name_at(text, name.start())))
                yield judging.of_bare(
                    start, token[0], around.of(start, end), attribution.shape, sure=sure
                )
                break


def _whole(text: str, around: _Around) -> Iterator[Proposal]:
    """A decoded text that is nothing but one value: the name stood outside."""
    value = text.strip()
    outer = around.outer
    if outer is None or _WHOLE.fullmatch(value) is None or not is_generated(value):
        return
    attribution = attribute(value, outer)
    if attribution.nearness is Nearness.NOWHERE and not is_telling(outer.name):
        return
    start = text.index(value[0])
    yield judging.of_value(start, value, outer, attribution)
