"""How sure a value is a secret, whose it is, and how it may be shown."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from keylease.detectors.definition import Checked, Definition, Shape
from keylease.detectors.definitions.generic import is_telling
from keylease.detectors.naming import Attribution, Nearness, Surroundings, provider_of
from keylease.detectors.randomness import is_random
from keylease.detectors.scanning.matches import Confidence, Nature
from keylease.detectors.scanning.natures import Verdict, nature_of

_SHOWN: Final = 4
_LONG_ENOUGH: Final = 20
"""Characters behind the prefix, of which the last four may be shown."""
_TESTS: Final = re.compile(
    r"(?:^|[/_.-])(?:tests?|testing|fixtures?|testdata|mocks?|specs?)(?:[/_.-]|$)"
)
_EXAMPLES: Final = re.compile(r"[A-Z0-9a-z]{4}EXAMPLE(?:KEY)?\b")
_LEAST_RANDOM_SK: Final = 32
_WEAKER: Final = {
    Confidence.HIGH: Confidence.MEDIUM,
    Confidence.MEDIUM: Confidence.LOW,
    Confidence.LOW: Confidence.LOW,
}
_WHERE: Final = {
    Nearness.NAME: "the name it is assigned to says whose it is",
    Nearness.LINE: "the same line names the provider",
    Nearness.NEAR: "the provider is named near it",
    Nearness.TITLE: "the file's name names the provider",
}
BESIDE_EXAMPLE: Final = "It stands beside an example of the documentation."
"""Why something counts as an example whose own form says nothing of the kind."""
_WITHOUT_LETTERS: Final = frozenset({"password", "url-password", "basic-credentials"})
"""Kinds of which no character is ever shown."""


class Proposal(NamedTuple):
    """What may become a match; places are those of the text that was searched."""

    start: int
    end: int
    kind: str
    provider: str
    confidence: Confidence
    reason: str
    nature: Nature
    nature_reason: str
    masked: str
    key_id: str
    name: str
    value: str


def of_definition(rule: Definition, start: int, value: str, around: Surroundings) -> Proposal:
    """A secret that has a form of its own."""
    confidence, reason = _form(rule, value)
    if rule.public:
        confidence = min(confidence, Confidence.MEDIUM, key=_strength)
        reason += " It is a public identifier; what it names is not."
    if rule.kind == "private-key":
        confidence, reason = _in_tests(confidence, reason, around.title)
    prefix = _prefix(rule, value)
    key_id = rule.key_id(value) if rule.key_id is not None else ""
    return _proposal(
        start=start,
        value=value,
        kind=rule.kind,
        provider=rule.provider or provider_of(around.name),
        verdict=(confidence, reason),
        prefix=prefix,
        least_entropy=rule.least_entropy,
        key_id=key_id or _id_near(rule.id_near, around),
        name=around.name,
        canonical=rule.canonical(value) if rule.canonical is not None else value,
    )


def of_pair(
    rule: Definition, start: int, value: str, *, key: str, around: Surroundings
) -> Proposal:
    """The secret that belongs to an access key id beside it."""
    return _proposal(
        start=start,
        value=value,
        kind="aws-secret-access-key",
        provider=rule.provider,
        verdict=(Confidence.HIGH, "It stands beside the access key id that it belongs to."),
        least_entropy=4.0,
        key_id=key,
        name=around.name,
    )


def of_generic(
    rule: Definition, start: int, value: str, around: Surroundings, told: Attribution
) -> Proposal:
    """A value that was found by its place, and whose form and surroundings tell the rest."""
    shape = told.shape
    if shape is not None:
        return _of_shape(shape, start, value, around, told.nearness)
    confidence, reason = Confidence.LOW, f"{_capital(rule.title)}; nothing tells whose."
    if rule.kind == "sk-key" and len(value) >= _LEAST_RANDOM_SK:
        confidence = Confidence.MEDIUM
        reason = "It has the form that OpenAI and compatible providers use; nothing tells whose."
    checked = rule.check(value) if rule.check is not None else None
    if rule.kind == "jwt":
        confidence = Confidence.MEDIUM if checked is Checked.HOLDS else Confidence.LOW
        reason = "Its header is that of a token; nothing tells whose."
    if told.provider:
        reason = f"{_capital(rule.title)}; the name says whose, the form does not."
        if rule.kind == "password":
            confidence = Confidence.MEDIUM
    confidence, reason = _in_tests(confidence, reason, around.title)
    return _proposal(
        start=start,
        value=value,
        kind=rule.kind,
        provider=told.provider,
        verdict=(confidence, reason),
        prefix=_prefix(rule, value),
        least_entropy=0.0 if rule.kind in _WITHOUT_LETTERS else rule.least_entropy,
        name=around.name,
        published=rule.published(value) if rule.published is not None else "",
    )


def of_value(start: int, value: str, around: Surroundings, told: Attribution) -> Proposal:
    """A decoded text that is one value; its name stood where it was encoded."""
    if told.shape is not None:
        return _of_shape(told.shape, start, value, around, told.nearness)
    return _proposal(
        start=start,
        value=value,
        kind="generic-secret",
        provider=told.provider,
        verdict=(Confidence.LOW, "It is a generated value under a telling name."),
        name=around.name,
    )


def of_bare(start: int, value: str, around: Surroundings, shape: Shape, *, sure: bool) -> Proposal:
    """A value of a provider's form behind the provider's name."""
    return _proposal(
        start=start,
        value=value,
        kind=shape.kind,
        provider=shape.provider,
        verdict=_in_tests(
            Confidence.MEDIUM if sure else Confidence.LOW,
            f"{shape.title} by its form; it stands right behind the provider's name.",
            around.title,
        ),
        least_entropy=shape.least_entropy,
        key_id=_id_near(shape.id_near, around),
        name=around.name,
    )


def _of_shape(
    shape: Shape, start: int, value: str, around: Surroundings, nearness: Nearness
) -> Proposal:
    confidence = Confidence.HIGH if nearness is Nearness.NAME else Confidence.MEDIUM
    if nearness > Nearness.LINE and not is_telling(around.name) and "-" not in value[:4]:
        confidence = Confidence.LOW
    reason = f"{shape.title} by its form; {_WHERE[nearness]}."
    return _proposal(
        start=start,
        value=value,
        kind=shape.kind,
        provider=shape.provider,
        verdict=(confidence, reason),
        prefix="sk-" if value.startswith("sk-") else "",
        least_entropy=shape.least_entropy,
        key_id=_id_near(shape.id_near, around),
        name=around.name,
        documented=shape.provider == "aws" and _documented(around),
    )


def _documented(around: Surroundings) -> bool:
    """Whether AWS's own examples stand near: their values end in EXAMPLE or EXAMPLEKEY."""
    return _EXAMPLES.search(f"{around.before}\n{around.after}") is not None


def _form(rule: Definition, value: str) -> tuple[Confidence, str]:
    checked = rule.check(value) if rule.check is not None else Checked.UNKNOWN
    if checked is Checked.BROKEN:
        return (
            Confidence.LOW,
            f"{_capital(rule.title)} by its beginning; its inner check does not fit.",
        )
    if checked is Checked.HOLDS:
        return Confidence.HIGH, f"{_capital(rule.title)} by its form; its inner check fits."
    if rule.form is not None and rule.form.fullmatch(value):
        return Confidence.HIGH, f"{_capital(rule.title)} by its form."
    reason = f"{_capital(rule.title)} by its beginning; the rest has another form."
    sure = rule.form is None or is_random(value)
    return Confidence.MEDIUM if sure else Confidence.LOW, reason


def _proposal(  # noqa: PLR0913 - the fields of a record, by keyword
    *,
    start: int,
    value: str,
    kind: str,
    provider: str,
    verdict: tuple[Confidence, str],
    prefix: str = "",
    least_entropy: float = 3.0,
    key_id: str = "",
    name: str = "",
    canonical: str | None = None,
    documented: bool = False,
    published: str = "",
) -> Proposal:
    confidence, reason = verdict
    nature = (
        Verdict(Nature.TEST_VECTOR, published)
        if published
        else nature_of(
            value if canonical is None else canonical, prefix=prefix, least_entropy=least_entropy
        )
    )
    if nature.nature is Nature.CANDIDATE and (documented or key_id.endswith("EXAMPLE")):
        nature = Verdict(Nature.EXAMPLE, BESIDE_EXAMPLE)
    if nature.nature is not Nature.CANDIDATE:
        confidence = Confidence.LOW
    return Proposal(
        start=start,
        end=start + len(value),
        kind=kind,
        provider=provider,
        confidence=confidence,
        reason=reason,
        nature=nature.nature,
        nature_reason=nature.reason,
        masked=masked(value, kind=kind, prefix=prefix),
        key_id=key_id,
        name=name if name.isprintable() else "",
        value=value if canonical is None else canonical,
    )


def masked(value: str, *, kind: str, prefix: str) -> str:
    """The public beginning and the last four characters, as providers show their keys."""
    if value.startswith("-----BEGIN "):
        return "-----BEGIN " + value.removeprefix("-----BEGIN ").partition("-----")[0] + "-----..."
    hidden = len(value) - len(prefix)
    if kind in _WITHOUT_LETTERS or hidden < _LONG_ENOUGH:
        return f"{prefix}..."
    return f"{prefix}...{value[-_SHOWN:]}"


def _prefix(rule: Definition, value: str) -> str:
    return next((literal for literal in rule.literals if value.startswith(literal)), "")


def _id_near(expression: re.Pattern[str] | None, around: Surroundings) -> str:
    if expression is None:
        return ""
    match = expression.search(around.before + "\n" + around.after)
    return "" if match is None else match[match.lastindex or 0]


def _in_tests(confidence: Confidence, reason: str, title: str) -> tuple[Confidence, str]:
    """Keys of no provider's form that stand among tests are nearly always made for them."""
    if _TESTS.search(title.lower()) is None:
        return confidence, reason
    return _WEAKER[confidence], f"{reason} The file is one of tests."


def _capital(title: str) -> str:
    return title[:1].upper() + title[1:] if title[:1].islower() and title[1:2].islower() else title


def _strength(confidence: Confidence) -> int:
    return [Confidence.LOW, Confidence.MEDIUM, Confidence.HIGH].index(confidence)
