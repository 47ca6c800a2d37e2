"""The form of a dialect: what it takes from which attribute, as a table, and the rest as code.

The tables are also what ``docs/reference/span-model.md`` is written from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from keylease.platform.traces.model import AttributeValue, Meaning, RawSpan
from keylease.platform.traces.understanding.payloads import PayloadBox
from keylease.platform.traces.understanding.values import count, text

Attributes: TypeAlias = dict[str, AttributeValue]
Table: TypeAlias = Mapping[str, tuple[str, ...]]
"""Field of ``Meaning`` -> names of attributes; the first that has a value is taken."""
Rest: TypeAlias = Callable[[RawSpan, Meaning, PayloadBox], None]


class Dialect(NamedTuple):
    """How one family of instrumentations writes its spans."""

    name: str
    title: str
    prefixes: tuple[str, ...]
    """Whole steps of attribute names; a span that has one of them may speak this dialect."""
    texts: Table
    counts: Table
    rest: Rest
    """Reads what is no plain text or number; called after the tables."""
    notes: Mapping[str, str]
    """Field -> where ``rest`` takes it from, for the reference."""
    events: frozenset[str] = frozenset()
    """Names of events by which it is recognised too."""

    def read(self, span: RawSpan, payloads: PayloadBox) -> Meaning:
        """What the span says in this dialect."""
        meaning = Meaning()
        attributes = span.attributes
        for field, names in self.texts.items():
            for name in names:
                value = attributes.get(name)
                if value is not None and (found := text(value)):
                    setattr(meaning, field, found)
                    break
        for field, names in self.counts.items():
            for name in names:
                value = attributes.get(name)
                if value is not None and (number := count(value)) is not None:
                    setattr(meaning, field, number)
                    break
        self.rest(span, meaning, payloads)
        return meaning


_UNSAID: Final[tuple[tuple[str, Any], ...]] = tuple(
    (field, getattr(Meaning(), field)) for field in Meaning.__struct_fields__
)


def complete(meaning: Meaning, other: Meaning) -> None:
    """Take from ``other`` every field that ``meaning`` does not say."""
    for field, unsaid in _UNSAID:
        if getattr(meaning, field) == unsaid and (value := getattr(other, field)) != unsaid:
            setattr(meaning, field, value)
