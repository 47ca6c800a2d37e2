"""The form in which a provider's file says what its secrets look like.

Three kinds of statement, all of them data, used alike by the text engine (``engine``) and by the
scanner of bytes (``scanning``):

- ``Definition``: a secret that begins with text of its own (``gsk_``), or stands in a place of its
  own (``://user:HERE@``, ``api_key = HERE``).
- ``Shape``: the form of a value that has no beginning of its own. A value of that form found by a
  ``Definition`` is the provider's when one of its names stands near.
- ``examples`` and ``counter_examples`` are templates (``{w:20}`` is twenty letters and digits),
  filled at random by the tests: what must be found, and what must not.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Final, NamedTuple

from keylease.detectors.randomness import is_random

WORD: Final = "A-Za-z0-9"
URL_SAFE: Final = "A-Za-z0-9_-"
BASE64: Final = "A-Za-z0-9+/"
_TRIGGER_LENGTH: Final = 16
"""Characters behind the literal that the scanner's matcher looks at, at most."""


class Checked(StrEnum):
    """What a checksum or a structure says about a value."""

    HOLDS = "holds"
    BROKEN = "broken"
    """The provider never issued this value."""
    UNKNOWN = "unknown"
    """The value has a form for which there is no check."""


class Definition(NamedTuple):
    """One kind of secret.

    ``pattern`` is tried only where one of ``literals`` stands, and matches from there. It must
    read each character a bounded number of times: single runs of a character class, or bounded
    repetition; no nested quantifiers. Its group ``secret`` is what is masked, or else the whole.
    """

    kind: str
    title: str
    """For people: ``OpenAI project key``."""
    literals: tuple[str, ...]
    pattern: re.Pattern[str]
    provider: str = ""
    """Empty when the form does not say whose secret it is."""
    label: str = ""
    """What a mask calls it; ``provider`` where it is empty."""
    offset: int = 0
    """Characters of the secret before the literal."""
    boundary: bool = True
    """The secret must not begin inside a word. Off for literals that no word contains."""
    accept: Callable[[str], bool] | None = None
    """Whether the secret's text is one; keeps ordinary words out."""
    at: Callable[[str, int], bool] | None = None
    """Whether the place in the text is one, told the literal's start."""
    at_late: bool = False
    """``at`` costs more than ``pattern`` and is asked after it."""
    extend: Callable[[str, int], int] | None = None
    """Told where the match ends; gives where the secret ends."""
    reads_on: bool = True
    """What ``accept`` refused is not looked at again. Off only for patterns of bounded length."""
    nearby: re.Pattern[str] | None = None
    """Also masked when it stands within ``NEARBY`` characters of the match."""
    nearby_accept: Callable[[str], bool] | None = None

    trigger: str = ""
    """What the scanner's matcher looks for, as a regular expression without look-around; it
    matches wherever ``pattern`` does, from the same place. Empty: one of the literals."""
    trigger_reach: int = 0
    """Bytes that ``trigger`` can cover at most, where its start is too costly to be found with
    its end: the literals are looked for in as many bytes before the end."""
    form: re.Pattern[str] | None = None
    """The form as the provider issues it today; the whole value must have it to be certain."""
    check: Callable[[str], Checked] | None = None
    """A checksum or another inner structure."""
    published: Callable[[str], str] | None = None
    """Why everybody has or can make this value, or nothing: then it is a test vector."""
    least_entropy: float = 3.0
    """Bits for each character behind the literal; a value below it is a placeholder."""
    names: tuple[str, ...] = ()
    """By what the provider is told near a value: expressions over lower-case text in which ``_``
    stands for any separator (``eleven_?labs``)."""
    key_id: Callable[[str], str] | None = None
    """The identifier that the provider writes into the secret; empty where there is none."""
    id_near: re.Pattern[str] | None = None
    """The identifier where it stands beside the secret; its group 1, or else the whole."""
    canonical: Callable[[str], str] | None = None
    """One way to write what can be written in several, so that fingerprints agree."""
    generic: bool = False
    """Found by its place alone; whose it is and how sure that is, shapes and names say."""
    scan_only: bool = False
    """Left to the scanner, which can say how sure it is; masking would take too much away."""
    public: bool = False
    """An identifier, no secret by itself: an access key id without its secret."""
    examples: tuple[str, ...] = ()
    counter_examples: tuple[str, ...] = ()


class Shape(NamedTuple):
    """The form of a value without a beginning of its own, and the names that tell whose it is."""

    kind: str
    title: str
    provider: str
    form: re.Pattern[str]
    names: tuple[str, ...]
    """As in ``Definition``; one of them must stand in the value's name or near it."""
    least_entropy: float = 3.0
    id_near: re.Pattern[str] | None = None
    bare: bool = False
    """Also looked for right behind one of its names where no telling word stands:
    ``Mistral("...")``."""
    examples: tuple[str, ...] = ()
    """Templates of values; the tests put them beside a name."""
    counter_examples: tuple[str, ...] = ()


def prefixed(  # noqa: PLR0913 - the fields of a record, by keyword
    kind: str,
    title: str,
    prefixes: tuple[str, ...],
    *,
    provider: str,
    alphabet: str = URL_SAFE,
    least: int = 16,
    form: str = "",
    random: bool = True,
    **more: object,
) -> Definition:
    """A secret that is one of ``prefixes`` and at least ``least`` characters of ``alphabet``.

    ``form`` is the expression of the whole value as it is issued today. ``random`` refuses what a
    person would write behind the prefix; it is off where no word begins like it.
    """
    beginning = f"(?:{'|'.join(map(re.escape, prefixes))})[{alphabet}]"
    return Definition(
        kind=kind,
        title=title,
        provider=provider,
        literals=prefixes,
        pattern=re.compile(f"{beginning}{{{least},}}"),
        trigger=f"{beginning}{{{min(least, _TRIGGER_LENGTH)}}}",
        form=re.compile(form) if form else None,
        **({"accept": is_random} if random else {}) | more,  # type: ignore[arg-type]  # fields of Definition, checked when it is made
    )
