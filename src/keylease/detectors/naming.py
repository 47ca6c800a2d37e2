"""Whose value it is: by the name it was given, what stands beside it, and the title of the text."""

from __future__ import annotations

import functools
import re
from enum import IntEnum
from typing import Final, NamedTuple

from keylease.detectors.definition import Shape
from keylease.detectors.definitions import ALL, SHAPES

WINDOW: Final = 600
"""Characters before and after a value in which a name may tell whose it is."""
_SPACES: Final = str.maketrans("_-.", "   ")
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_OPEN_TO_OTHERS: Final = frozenset({"openai"})
"""Providers whose variable names are used for the keys of compatible ones, too."""


class Nearness(IntEnum):
    """Where the telling name stands; the smaller, the surer."""

    NAME = 0
    """In the name that the value is assigned to."""
    LINE = 1
    NEAR = 2
    TITLE = 3
    """In the path or title of the text."""
    NOWHERE = 4


class Attribution(NamedTuple):
    """Whose a value is, and by what that was told."""

    nearness: Nearness
    provider: str = ""
    shape: Shape | None = None
    """None: a name tells the provider, but the value has none of its forms."""


class Surroundings(NamedTuple):
    """What stands around a value."""

    name: str
    before: str
    after: str
    title: str = ""


UNKNOWN: Final = Attribution(Nearness.NOWHERE)


def name_expression(name: str) -> str:
    """A telling name as a regular expression over text as it is written."""
    return name.replace("_", "[-_. ]")


@functools.cache
def _plain(name: str) -> re.Pattern[str]:
    """The same over text that went through ``_normal``."""
    return re.compile(name.replace("_", " "))


@functools.cache
def _providers() -> tuple[tuple[str, re.Pattern[str]], ...]:
    names: dict[str, set[str]] = {}
    for provider, words in [(known.provider, known.names) for known in ALL] + [
        (known.provider, known.names) for known in SHAPES
    ]:
        if provider:
            names.setdefault(provider, set()).update(words)
    return tuple(
        (provider, re.compile("|".join(sorted(word.replace("_", " ") for word in words))))
        for provider, words in names.items()
        if words
    )


def _normal(text: str) -> str:
    return text.lower().translate(_SPACES)


def _words(name: str) -> str:
    """A variable's name as it is, and with the words of camelCase taken apart."""
    plain, apart = _normal(name), _normal(_CAMEL.sub(" ", name))
    return plain if plain == apart else f"{plain} {apart}"


def provider_of(name: str) -> str:
    """The provider that a variable's name tells, or nothing. The longest name decides."""
    plain = _words(name)
    best, provider = 0, ""
    for candidate, expression in _providers():
        match = expression.search(plain)
        if match is not None and len(match[0]) > best:
            best, provider = len(match[0]), candidate
    return provider


@functools.lru_cache(maxsize=4096)
def words_beside(name: str) -> tuple[str, ...]:
    """The words of a variable's name that tell no provider, in lower case."""
    plain = _normal(_CAMEL.sub(" ", name))
    for _, expression in _providers():
        plain = expression.sub(" ", plain)
    return tuple(plain.split())


def attribute(value: str, around: Surroundings) -> Attribution:
    """Whose the value is. A form alone tells nothing; a name alone tells the provider only."""
    fitting = [shape for shape in SHAPES if shape.form.fullmatch(value)]
    named = provider_of(around.name) if around.name else ""
    by_name = _longest(fitting, _words(around.name))
    if by_name is not None and (not named or by_name.provider == named or named in _OPEN_TO_OTHERS):
        return Attribution(Nearness.NAME, by_name.provider, by_name)
    if named and named not in _OPEN_TO_OTHERS:
        return Attribution(Nearness.NAME, named)
    if fitting:
        nearest = _nearest(fitting, around)
        if nearest is not UNKNOWN:
            return nearest
    return Attribution(Nearness.NAME, named) if named else UNKNOWN


def _longest(shapes: list[Shape], plain: str) -> Shape | None:
    best, found = 0, None
    for shape in shapes:
        for name in shape.names:
            match = _plain(name).search(plain)
            if match is not None and len(match[0]) > best:
                best, found = len(match[0]), shape
    return found


def _nearest(shapes: list[Shape], around: Surroundings) -> Attribution:
    before, after = _normal(around.before), _normal(around.after)
    nearest: tuple[Nearness, int, Shape] | None = None
    for shape in shapes:
        for name in shape.names:
            for nearness, distance in _places(_plain(name), before, after):
                if nearest is None or (nearness, distance) < nearest[:2]:
                    nearest = (nearness, distance, shape)
    if nearest is not None:
        return Attribution(nearest[0], nearest[2].provider, nearest[2])
    titled = _longest(shapes, _normal(around.title))
    return UNKNOWN if titled is None else Attribution(Nearness.TITLE, titled.provider, titled)


def _places(name: re.Pattern[str], before: str, after: str) -> list[tuple[Nearness, int]]:
    places = []
    matches = list(name.finditer(before))
    if matches:
        last = matches[-1]
        same_line = "\n" not in before[last.end() :]
        places.append((Nearness.LINE if same_line else Nearness.NEAR, len(before) - last.end()))
    first = name.search(after)
    if first is not None:
        same_line = "\n" not in after[: first.start()]
        places.append((Nearness.LINE if same_line else Nearness.NEAR, first.start()))
    return places
