"""Members are found as a decoder finds them, however the bytes were cut."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.cuts import pieces

from keylease.strongroom.gateway.metering.json_members import MAXIMUM_MEMBER, JsonMembers, Member

WANTED: tuple[Member, ...] = (("id",), ("usage",), ("message", "usage"), ("message", "id"))
NAMES = st.sampled_from(["id", "usage", "message", "x", "", 'q"', "\\", "é", "response"])
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-99, 99),
        st.text('"\\{}[],:x usage', max_size=8),
    ),
    lambda children: st.one_of(
        st.lists(children, max_size=3), st.dictionaries(NAMES, children, max_size=4)
    ),
    max_leaves=12,
)


def picked(data: bytes, cuts: list[int]) -> dict[Member, object]:
    members = JsonMembers(WANTED)
    for piece in pieces(data, cuts):
        members.feed(piece)
    return {path: json.loads(raw) for path, raw in members.found.items()}


@given(
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.lists(st.integers(0, 500), max_size=10),
    st.sampled_from([None, 1]),
)
@settings(max_examples=300, deadline=None)
def test_members_are_those_of_a_decoder(
    document: dict[str, object], cuts: list[int], indent: int | None
) -> None:
    expected: dict[Member, object] = {
        (name,): document[name] for name in ("id", "usage") if name in document
    }
    message = document.get("message")
    if isinstance(message, dict):
        expected |= {
            ("message", name): message[name] for name in ("id", "usage") if name in message
        }
    data = json.dumps(document, ensure_ascii=False, indent=indent).encode()
    assert picked(data, cuts) == expected
    assert picked(data, list(range(len(data)))) == expected


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=5))
@settings(max_examples=200, deadline=None)
def test_anything_is_survived(data: bytes, cuts: list[int]) -> None:
    members = JsonMembers(WANTED)
    for cut in cuts:
        members.feed(data[:cut])
        members.feed(data[cut:])


@pytest.mark.parametrize(
    "data",
    [
        b'[{"usage": 1}]',
        b'{"x": {"usage": 1}}',
        b'{"x": "\\"usage\\": 1"}',
        b'{"x": ["usage", 1]}',
        b'{} {"usage": 1}',
        b'{"usage": 1',
        b'"usage": 1',
        b'{"usagex": 1, "xusage": 1}',
    ],
)
def test_what_is_no_member_of_the_object_is_not_found(data: bytes) -> None:
    assert picked(data, []) == {}


def test_the_last_of_two_equal_names_counts() -> None:
    assert picked(b'{"usage": 1, "usage": 2}', []) == {("usage",): 2}


def test_a_member_that_is_too_long_is_dropped_and_memory_stays_bounded() -> None:
    members = JsonMembers(WANTED)
    members.feed(b'{"usage": "')
    for _ in range(100):
        members.feed(b"x" * MAXIMUM_MEMBER)
        assert members._value is None
    members.feed(b'", "id": "a"}')
    assert members.found == {("id",): b' "a"'}


@pytest.mark.no_cover
@pytest.mark.parametrize("unit", [b"\\n", b'\\"', b"\\\\", b'","', b"x", b'":{"'])
def test_no_text_takes_longer_than_its_length(unit: bytes) -> None:
    # Ten times the bytes may take ten times as long; a quadratic search would take a hundred.
    def seconds(size: int) -> float:
        data = b'{"a":"' + unit * (size // len(unit)) + b'"}'
        best = float("inf")
        for _ in range(3):
            members = JsonMembers(WANTED)
            begun = time.process_time()
            members.feed(data)
            best = min(best, time.process_time() - begun)
        return best

    assert seconds(1_000_000) < 40 * seconds(100_000) + 0.01
