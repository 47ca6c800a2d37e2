"""The places of a TOML text agree with what tomllib reads from it."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.strongroom.config_files.positions import Path, Position, positions


def places(value: object, path: Path = ()) -> Iterator[Path]:
    """Every path of a parsed document."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield (*path, key)
            yield from places(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield (*path, number)
            yield from places(item, (*path, number))


EXAMPLES = [
    "",
    "# only a comment",
    "a = 1",
    "a.b.c = 1\na.d = 2",
    "[a]\nb = 1\n[a.c]\nd = 2",
    "[a.c]\nd = 2\n[a]\nb = 1",
    "[[a]]\nb = 1\n[[a]]\nb = 2\n[a.c]\nd = 3\n[[a.e]]\nf = 1\n[[a.e]]\nf = 2",
    'a = "x # no comment" # comment\nb = 2',
    'a = """\n[not.a.table]\nb = 1\n""" # c\nc = 2',
    "a = '''\n''two''\n[x]'''\nb = 1",
    'a = """ends with quotes"""""\nb = 1',
    "a = '''ends with quotes'''''\nb = 1",
    'a = """\\"""x"""\nb = 1',
    '"quoted key" = 1\n\'literal.key\' = 2\n"a\\u0062\\"c" = 3\n"" = 4',
    "\"a\" . b . 'c' = 1",
    "a = [1, [2, 3], {b = 4, c = [5]}]\nd = 6",
    "a = [ # comment ] \n 1, # one\n 2,\n]\nb = 3",
    "a = {}\nb = []\nc = { d.e = 1, f = 'x,}' }",
    "a = 1979-05-27 07:32:00\nb = inf # ]\nc = -0.5e3",
    "\r\na = 1\r\n[b]\r\nc = '''\r\nx'''\r\nd = 2",
    "  [  a . b  ]  \n  c  =  1",
    "é = 1".replace("é", '"é"'),
    "a.b = 1\n[c]\na.b = 2",
]


@pytest.mark.parametrize("text", EXAMPLES)
def test_every_path_has_a_place_and_nothing_else_has(text: str) -> None:
    assert set(positions(text)) == set(places(tomllib.loads(text)))


def test_places_are_where_a_person_would_look() -> None:
    text = (
        "version = 1 # x\n"
        "\n"
        "[gateway]\n"
        '  listen = "127.0.0.1:1"\n'
        "[[binding]]\n"
        "provider = '''\n[x]\n'''\n"
        'purposes = [\n  "eval", # a\n  "production",\n]\n'
        "[[binding]]\n"
        'a = { b = 1, "c" = [2] }\n'
    )
    found = positions(text)
    assert found[("version",)] == Position(1, 1)
    assert found[("gateway",)] == Position(3, 1)
    assert found[("gateway", "listen")] == Position(4, 3)
    assert found[("binding", 0)] == Position(5, 1)
    assert found[("binding", 0, "provider")] == Position(6, 1)
    assert found[("binding", 0, "purposes")] == Position(9, 1)
    assert found[("binding", 0, "purposes", 1)] == Position(11, 3)
    assert found[("binding", 1)] == Position(13, 1)
    assert found[("binding", 1, "a", "b")] == Position(14, 7)
    assert found[("binding", 1, "a", "c", 0)] == Position(14, 21)


# --- documents that are made at random, in every notation ----------------------------------

NAMES = st.text(string.ascii_lowercase + "-_9", min_size=1, max_size=4)
ODD_NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=4)
SCALARS = st.one_of(
    st.integers(-999, 999).map(str),
    st.sampled_from(["true", "1.5", "inf", "1979-05-27", "07:32:00", "0x1F"]),
    st.text("ab[]{}=#,.'\n \t", max_size=8).map(lambda t: '"""' + t + '"""'),
    st.text('ab[]{}=#,."\n \\', max_size=8).map(lambda t: "'''" + t + "'''"),
    st.text("ab[]{}=#,.' ", max_size=8).map(lambda t: '"' + t + '"'),
    st.text('ab[]{}=#,." \\', max_size=8).map(lambda t: "'" + t + "'"),
)
SPACE = st.sampled_from(["", " ", "\t", "  "])
BREAKS = st.sampled_from(["", " ", "\n", " # ] } comment\n", "\n\n  "])


@st.composite
def keys(draw: st.DrawFn) -> str:
    def part() -> str:
        name = draw(st.one_of(NAMES, ODD_NAMES))
        if name and all(c in string.ascii_letters + string.digits + "-_" for c in name):
            return draw(st.sampled_from([name, f'"{name}"', f"'{name}'"]))
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'

    return draw(SPACE).join([part(), *(f".{part()}" for _ in range(draw(st.integers(0, 2))))])


def arrays(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    element = st.tuples(BREAKS, values, BREAKS).map("".join)
    ending = st.sampled_from(["", ","])
    return st.builds(
        lambda items, comma, gap: "[" + ",".join(items) + (comma if items else "") + gap + "]",
        st.lists(element, max_size=3),
        ending,
        BREAKS,
    )


def inline_tables(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    pair = st.builds(lambda k, a, v, b: f"{a}{k}{b}={a}{v}{b}", keys(), SPACE, values, SPACE)
    return st.lists(pair, max_size=3).map(lambda pairs: "{" + ",".join(pairs) + "}")


VALUES = st.recursive(SCALARS, lambda v: st.one_of(arrays(v), inline_tables(v)), max_leaves=6)
LINES = st.one_of(
    st.builds(lambda s, k, v: f"{s}{k}{s}={s}{v}{s}", SPACE, keys(), VALUES),
    st.builds(lambda s, k: f"{s}[{s}{k}{s}]{s}", SPACE, keys()),
    st.builds(lambda s, k: f"[[{s}{k}{s}]] # [x]", SPACE, keys()),
    st.sampled_from(["", "# comment = [", "   "]),
)


@given(st.lists(LINES, max_size=12), st.sampled_from(["\n", "\r\n"]))
@settings(max_examples=600, deadline=None)
def test_random_documents_agree_with_tomllib(lines: list[str], newline: str) -> None:
    kept: list[str] = []
    for line in lines:  # keeps the lines that are valid together
        try:
            tomllib.loads("\n".join([*kept, line]))
        except tomllib.TOMLDecodeError:
            continue
        kept.append(line)
    text = "\n".join(kept).replace("\n", newline)
    document = tomllib.loads(text)
    found = positions(text)
    assert set(found) == set(places(document))
    rows = text.replace("\r\n", "\n").split("\n")
    for path, position in found.items():
        rest = rows[position.line - 1][position.column - 1 :]
        if isinstance(path[-1], str) and not rest.startswith("["):
            assert rest.startswith((path[-1], '"', "'"))


def test_long_texts_are_read_in_linear_time() -> None:
    text = "".join(f'[[a]]\nb = "{"x" * 50}"\nc = [1, 2]\n' for _ in range(5_000))
    assert len(positions(text)) == 1 + 5_000 * 5
