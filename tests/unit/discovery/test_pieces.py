from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.discovery import pieces


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "WINDOW", 256)
    monkeypatch.setattr(pieces, "OVERLAP", 64)


def owned(data: bytes, token: bytes) -> list[tuple[int, int]]:
    """Line and offset of each token, as matches are attributed to pieces."""
    found = []
    for piece in pieces.windows(io.BytesIO(data), "x"):
        at = piece.data.find(token)
        while at >= 0:
            if at >= piece.low and (piece.high is None or at < piece.high):
                line = piece.first_line + piece.data.count(b"\n", 0, at)
                start = piece.data.rfind(b"\n", 0, at) + 1
                found.append((line, at - start + (piece.before if start == 0 else 0)))
            at = piece.data.find(token, at + 1)
    return found


@given(
    gaps=st.lists(st.integers(0, 300), min_size=1, max_size=8),
    every=st.integers(1, 400),
)
def test_each_secret_is_found_once_with_its_line_wherever_a_border_falls(
    gaps: list[int], every: int
) -> None:
    token = b"<secret-of-30-characters-here>"
    text = b"".join(b"." * gap + token for gap in gaps)
    data = b"\n".join(text[at : at + every] for at in range(0, len(text), every))
    expected = []
    at = data.find(token)
    while at >= 0:
        line = data.count(b"\n", 0, at) + 1
        expected.append((line, at - data.rfind(b"\n", 0, at) - 1))
        at = data.find(token, at + 1)
    assert owned(data, token) == expected


def test_a_small_stream_is_one_piece_and_an_empty_one_none() -> None:
    (piece,) = pieces.windows(io.BytesIO(b"abc"), "x", b"")
    assert piece == pieces.Piece(b"abc", "x")
    assert list(pieces.windows(io.BytesIO(b""), "x")) == []
