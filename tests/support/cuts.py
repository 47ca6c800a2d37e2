"""Cuts bytes into chunks, as networks do."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """``data`` cut at the given places, taken modulo its length; never an empty piece."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]
