"""Bombs, corrupt data and adversarial text cost a bounded amount of memory and work."""

from __future__ import annotations

import base64
import gzip
import sys
import tracemalloc
from types import FrameType

import pytest
from tests.support.secret_templates import fill

from keylease.detectors.scanning import Scanner, views
from keylease.detectors.scanning.matcher import Candidate, Gate, LiteralMatcher, matcher
from keylease.detectors.scanning.scanner import BLOCK

SCANNER = Scanner()
KEY = fill("hf_{l:34}", 1).encode()


def test_a_bomb_is_opened_as_far_as_the_bound_and_named() -> None:
    bomb = gzip.compress(KEY + b"\n" + bytes(6 * views.LARGEST_VIEW))
    tracemalloc.start()
    try:
        scan = SCANNER.examine(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [match.kind for match in scan.matches] == ["huggingface-token"]
    assert [omission.reason for omission in scan.omissions] == ["too_large"]
    assert most < 5 * views.LARGEST_VIEW


def test_bombs_beside_each_other_share_one_budget() -> None:
    bomb = base64.b64encode(gzip.compress(bytes(views.LARGEST_VIEW)))
    scan = SCANNER.examine(b"\n".join(b"data: " + bomb for _ in range(8)))
    opened = views.MOST_DECOMPRESSED // views.LARGEST_VIEW
    assert [omission.reason for omission in scan.omissions] == ["too_large"] * (8 - opened)


def test_a_bomb_in_a_bomb_is_opened_once() -> None:
    inner = gzip.compress(bytes(4 * views.LARGEST_VIEW))
    data = gzip.compress(gzip.compress(gzip.compress(inner) * 3))
    scan = SCANNER.examine(data)
    assert scan.matches == ()
    assert scan.omissions


@pytest.mark.no_cover
def test_escapes_of_escapes_are_taken_off_a_bounded_number_of_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data = (b"%" + b"25" * 40 + b"41" + b"\\" * 64 + b'"') * 12_000
    scanner, searched = Scanner(), 0
    candidates = matcher().candidates

    def counted(block: bytes) -> tuple[list[Candidate], Gate]:
        nonlocal searched
        searched += len(block)
        return candidates(block)

    monkeypatch.setattr(scanner._matcher, "candidates", counted)
    scan = scanner.examine(data)
    assert scan.matches == ()
    assert "too_deep" in [omission.reason for omission in scan.omissions]
    assert searched <= (views.MOST_UNESCAPED + 1) * (len(data) + views.MOST_DECOMPRESSED // 64)


def test_encodings_too_deep_are_named() -> None:
    text = KEY
    for _ in range(views.DEEPEST + 2):
        text = base64.b64encode(b"key: " + text)
    scan = SCANNER.examine(b"x: " + text)
    assert "too_deep" in [omission.reason for omission in scan.omissions]
    omission = scan.omissions[0]
    assert 0 <= omission.start < omission.end <= len(text) + 3


@pytest.mark.parametrize(("share", "found"), [(0.0, 0), (0.6, 1)])
def test_a_stream_that_is_cut_off_is_searched_up_to_there_and_named(
    share: float, found: int
) -> None:
    lines = b"".join(f"line {number} of a text {number**3}\n".encode() for number in range(800))
    stream = gzip.compress(KEY + b"\n" + lines)
    scan = SCANNER.examine(stream[: 20 + int(share * len(stream))])
    assert [omission.reason for omission in scan.omissions] == ["corrupt"]
    assert len(scan.matches) == found


@pytest.mark.parametrize("junk", [b"\x1f\x8b\x08", b"\x1f\x8b\x08" + b"\xff" * 60, b"\xff\xfe\x00"])
def test_what_only_begins_like_an_encoding_is_searched_as_it_is(junk: bytes) -> None:
    assert "huggingface-token" in [m.kind for m in SCANNER.scan(junk + b" " + KEY + b" ")]


UNITS = [
    "sk-", "sk-proj-", "eyJ", "eyJaaaaaaaa.", "token=", "key", "key=key=", "://", "://a:b", "key_",
    "-----BEGIN PRIVATE KEY-----", "AKIA" + "A" * 16 + " ", "%3Dsk-", "github_pat_", "mistral ",
    "mistral=", '\\"', "%41", "QUFB", "QUFBQUFB\n", 'key" {', 'private_key": "-----BEGIN ',
    "JQQJ99", "password: aB3-", "Bearer aB3dE6gH9jK2mN5p ", "default=", "cohere:", "H4sI",
    "\u0000a",
]  # fmt: skip


def work(scanner: Scanner, data: bytes) -> int:
    """How many functions are called, in Python or in C, to search the data."""
    count = 0

    def called(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        del frame, argument
        count += event in {"call", "c_call"}

    sys.setprofile(called)
    try:
        scanner.scan(data)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.no_cover
@pytest.mark.parametrize("unit", UNITS)
def test_work_grows_with_the_length_and_not_faster(unit: str) -> None:
    # Calls are counted; what one call does is bounded by bounded patterns. A pattern that is not
    # would run into the test's time-out with the longer text.
    small = (unit * (12_000 // len(unit))).encode()
    large = small * 6
    SCANNER.scan(small)  # what is made on first use is no work of this search
    assert work(SCANNER, large) <= 7 * work(SCANNER, small) + 500


@pytest.mark.no_cover
@pytest.mark.parametrize("unit", ["key = ", "aB3dE6gH9jK2mN5p", "a line of words and no break "])
def test_one_very_long_line_is_searched_in_blocks(unit: str) -> None:
    data = (unit * (3 * BLOCK // len(unit))).encode() + b" " + KEY
    tracemalloc.start()
    try:
        matches = SCANNER.scan(data)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "huggingface-token" in [match.kind for match in matches]
    assert most < 60 * BLOCK


@pytest.mark.no_cover
def test_the_literal_matcher_needs_no_more_than_linear_work_either() -> None:
    literals = LiteralMatcher()
    for unit in ("key=", "mistral ", "sk-"):
        data = (unit * 5000).encode()
        candidates, _ = literals.candidates(data)
        assert len(candidates) <= 4 * 5000


def test_a_definition_is_looked_for_by_whichever_matcher_there_is() -> None:
    assert matcher().name in {"vectorscan", "literals"}
