"""Ignore files, with the meaning git gives them (gitignore(5)).

A pattern becomes a regular expression that is matched in linear time: what stands between two
stars is found at its first place and never looked for again, so that a hostile ``*a*a*a*a`` costs
nothing. Patterns that are a plain name or ``*.ending`` are looked up in a set instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

_MAXIMUM_PATTERNS: Final = 20_000
_MAXIMUM_LENGTH: Final = 1024
_MAGIC: Final = frozenset("*?[\\")
_CLASSES: Final = {
    "alpha": "a-zA-Z",
    "digit": "0-9",
    "alnum": "a-zA-Z0-9",
    "upper": "A-Z",
    "lower": "a-z",
    "space": r"\s",
    "xdigit": "0-9a-fA-F",
    "punct": r"!-/:-@\[-`{-~",
    "blank": r" \t",
    "word": r"\w",
}


class _Run(NamedTuple):
    """Neighbouring patterns that all ignore, or all take back."""

    ignores: bool
    names: frozenset[str]
    directory_names: frozenset[str]
    endings: tuple[str, ...]
    paths: re.Pattern[str] | None
    """Over the path relative to the ignore file; a directory's has a slash at its end."""


class IgnoreRules:
    """The patterns of one ignore file."""

    def __init__(self, runs: Sequence[_Run]) -> None:
        """Use ``parse``. ``runs`` in the order in which they decide: the last pattern first."""
        self._runs = tuple(runs)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def decide(self, path: str, name: str, *, is_directory: bool) -> bool | None:
        """True: ignored; False: taken back by ``!``; None: nothing is said about it.

        ``path`` is relative to the ignore file's directory, with slashes between; ``name`` is its
        last part.
        """
        for run in self._runs:
            if (
                name in run.names
                or (is_directory and name in run.directory_names)
                or (run.endings and name.endswith(run.endings))
                or (run.paths and run.paths.match(f"{path}/" if is_directory else path))
            ):
                return run.ignores
        return None


def parse(text: str) -> IgnoreRules:
    """Read an ignore file. Patterns that git would not understand either are left out."""
    runs: list[_Run] = []
    group: list[str] = []
    ignores = True
    for line in _patterns(text):
        takes_back = line.startswith("!")
        if group and takes_back is ignores:
            runs.append(_run(group, ignores=ignores))
            group = []
        ignores = not takes_back
        group.append(line[1:] if takes_back else line)
    if group:
        runs.append(_run(group, ignores=ignores))
    return IgnoreRules(runs[::-1])


def _patterns(text: str) -> Iterable[str]:
    for number, line in enumerate(text.split("\n")):
        if number >= _MAXIMUM_PATTERNS:
            return
        pattern = line.removesuffix("\r")
        if not pattern or pattern.startswith("#") or len(pattern) > _MAXIMUM_LENGTH:
            continue
        stripped = pattern.rstrip(" ")
        if len(stripped) < len(pattern) and _ends_escaped(stripped):
            stripped += " "
        if stripped.strip("/! "):
            yield stripped


def _ends_escaped(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _run(patterns: Iterable[str], *, ignores: bool) -> _Run:
    names: set[str] = set()
    directory_names: set[str] = set()
    endings: set[str] = set()
    expressions: list[str] = []
    for pattern in patterns:
        only_directories = pattern.endswith("/") and not pattern.endswith("\\/")
        body = pattern.rstrip("/") if only_directories else pattern
        plain = "/" not in body
        if plain and _MAGIC.isdisjoint(body):
            (directory_names if only_directories else names).add(body)
        elif plain and not only_directories and body[0] == "*" and _MAGIC.isdisjoint(body[1:]):
            endings.add(body[1:])
        elif (expression := _expression(body, only_directories=only_directories)) is not None:
            expressions.append(expression)
    joined = f"(?s:{'|'.join(expressions)})\\Z" if expressions else ""
    return _Run(
        ignores=ignores,
        names=frozenset(names),
        directory_names=frozenset(directory_names),
        endings=tuple(endings),
        paths=re.compile(joined) if joined else None,
    )


def _expression(body: str, *, only_directories: bool) -> str | None:
    """One pattern as an expression over a whole path, or None when it is malformed."""
    anchored = "/" in body
    parts = [part for part in body.split("/") if part]
    if not anchored:
        parts.insert(0, "**")
    pieces: list[str] = []
    for number, part in enumerate(parts):
        last = number == len(parts) - 1
        if part == "**":
            # In the middle: any number of directories, as few as do. At the end: all below.
            pieces.append("[^/].*" if last else "(?:[^/]+/)*?")
            continue
        segment = _segment(part)
        if segment is None:
            return None
        pieces.append(segment + ("" if last else "/"))
    if parts and parts[-1] == "**" and not pieces:
        return None
    return f"(?:{_atomic(pieces)}{'/' if only_directories else '/?'})"


def _atomic(pieces: list[str]) -> str:
    """Join pieces so that what follows a ``**`` is searched forwards once.

    Between two ``**`` the first place that fits is as good as any later one, so it is kept. After
    the last ``**`` the whole rest has to fit, and each place is tried once.
    """
    chunks: list[list[str]] = [[]]
    for piece in pieces:
        if piece.startswith("(?:[^/]+/)*?"):
            chunks.append([])
        chunks[-1].append(piece)
    middle = ["(?>" + "".join(chunk) + ")" if chunk else "" for chunk in chunks[:-1]]
    return "".join(middle) + "".join(chunks[-1])


def _segment(part: str) -> str | None:
    """A part between slashes: ``*``, ``?`` and ``[...]`` do not match a slash."""
    fixed: list[str] = [""]
    position = 0
    while position < len(part):
        character = part[position]
        position += 1
        if character == "*":
            if fixed[-1] or len(fixed) == 1:
                fixed.append("")
        elif character == "?":
            fixed[-1] += "[^/]"
        elif character == "[":
            found = _bracket(part, position)
            if found is None:
                return None
            expression, position = found
            fixed[-1] += expression
        elif character == "\\":
            if position == len(part):
                return None
            fixed[-1] += re.escape(part[position])
            position += 1
        else:
            fixed[-1] += re.escape(character)
    first, *rest = fixed
    if not rest:
        return first
    # As in CPython's fnmatch: each middle part is taken at its first place, in an atomic group.
    middle = "".join(f"(?>[^/]*?{piece})" for piece in rest[:-1] if piece)
    whole = f"{first}{middle}[^/]*{rest[-1]}"
    return f"(?=[^/]){whole}"


def _bracket(part: str, position: int) -> tuple[str, int] | None:
    """``[...]`` from after its bracket; gives the expression and where it ends."""
    negated = part[position : position + 1] in {"!", "^"}
    position += negated
    items: list[str] = []
    first = position
    while part[position : position + 1] != "]" or position == first:
        found = (
            _class(part, position) if part.startswith("[:", position) else _range(part, position)
        )
        if found is None:
            return None
        items.append(found[0])
        position = found[1]
    inside = "".join(items)
    if negated:
        return f"[^/{inside}]", position + 1
    return (f"(?!/)[{inside}]" if inside else "(?!)"), position + 1


def _class(part: str, position: int) -> tuple[str, int] | None:
    end = part.find(":]", position)
    name = part[position + 2 : end] if end >= 0 else ""
    return (_CLASSES[name], end + 2) if name in _CLASSES else None


def _range(part: str, position: int) -> tuple[str, int] | None:
    """A character, or a range of them, in brackets. An empty range matches nothing."""
    low, position = _escaped(part, position)
    if not low:
        return None
    if part[position : position + 1] != "-" or part[position + 1 : position + 2] in {"", "]"}:
        return re.escape(low), position
    high, position = _escaped(part, position + 1)
    if not high:
        return None
    return (f"{re.escape(low)}-{re.escape(high)}" if low <= high else ""), position


def _escaped(part: str, position: int) -> tuple[str, int]:
    if part[position : position + 1] == "\\":
        position += 1
    return part[position : position + 1], position + 1
