"""Identifiers have the form of RFC 9562, sort by time, and differ."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st
from tests.support.manual_clock import ManualClock

from keylease.primitives.identifiers import Uuid7Maker, uuid7


def test_identifiers_made_in_quick_succession_differ_and_are_version_7() -> None:
    clock = ManualClock()
    make = Uuid7Maker(clock)
    made = [make() for _ in range(1000)]
    assert len(set(made)) == len(made)
    for text in made:
        identifier = uuid.UUID(text)
        assert str(identifier) == text
        assert (identifier.version, identifier.variant) == (7, uuid.RFC_4122)
        assert identifier.int >> 80 == clock.now() // 1000
    assert {text[19] for text in made} == set("89ab")


@given(st.integers(0, 2**48 * 1000 - 1), st.integers(0, 2**48 * 1000 - 1))
def test_later_identifiers_sort_behind_earlier_ones(one: int, other: int) -> None:
    clock = ManualClock()
    make = Uuid7Maker(clock)
    times = sorted((one, other))
    made = []
    for moment in times:
        clock.microseconds = moment
        made.append((make(), uuid7(clock)))
    for first, second in zip(*made, strict=True):
        assert uuid.UUID(first).int >> 80 <= uuid.UUID(second).int >> 80
    assert made[1][0][:13] == made[1][1][:13]


@given(st.integers(0, 2**32 - 2), st.integers(0, 0xFFFF))
def test_the_time_is_right_when_its_leading_digits_change(period: int, late: int) -> None:
    clock = ManualClock()
    make = Uuid7Maker(clock)
    for milliseconds in (period << 16 | late, period << 16 | 0xFFFF, (period + 1) << 16):
        clock.microseconds = milliseconds * 1000 + 999
        assert uuid.UUID(make()).int >> 80 == milliseconds


def test_all_random_digits_come_from_the_source() -> None:
    clock = ManualClock()
    ones = Uuid7Maker(clock, random_bytes=lambda size: b"\xff" * size)()
    zeros = Uuid7Maker(clock, random_bytes=bytes)()
    assert ones[14:] == "7fff-bfff-ffffffffffff"
    assert zeros[14:] == "7000-8000-000000000000"
    drawn = bytes.fromhex("0123456789abcdef0123")
    each = Uuid7Maker(clock, random_bytes=lambda size: drawn * (size // len(drawn)))()
    assert each[14:] == "7123-8567-89abcdef0123"
