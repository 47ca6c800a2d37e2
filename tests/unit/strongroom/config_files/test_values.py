"""Durations, sizes, amounts and addresses are read exactly, or refused."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.strongroom.config_files.values import (
    parse_address,
    parse_base_url,
    parse_duration,
    parse_money,
    parse_origin,
    parse_size,
)
from keylease.strongroom.configuration import Address, Origin


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("1h30m", 5400), ("1d", 86400), ("250ms", 0.25), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "15 m", "1.5h", "m", "-1s", "1m1h", "1s\n", "٣s"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="a duration such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("value", "size"),
    [("64 MiB", 64 * 1024**2), ("500kB", 500_000), ("1024", 1024), (7, 7), ("1 GB", 10**9)],
)
def test_sizes(value: str | int, size: int) -> None:
    assert parse_size(value) == size


@pytest.mark.parametrize("value", ["", "x", "-1", -2, "1.5 MB", "1 mb", "1  MB", "9" * 20])
def test_no_sizes(value: str | int) -> None:
    with pytest.raises(ValueError, match="a size such as"):
        parse_size(value)


@given(st.integers(0, 10**12 - 1), st.integers(0, 999_999))
def test_amounts_are_exact(whole: int, micro: int) -> None:
    text = f"{whole}.{micro:06d}"
    assert parse_money(text) == whole * 1_000_000 + micro
    assert parse_money(Decimal(text)) == whole * 1_000_000 + micro
    assert parse_money(whole) == whole * 1_000_000


@pytest.mark.parametrize(
    "value",
    ["", "x", "-1", "1.0000001", "1e3", "$5", "1,000", " 1", "9" * 13, -1, Decimal("-0.1"),
     Decimal("NaN"), Decimal("Infinity"), Decimal("1e999999999"), Decimal("1e-999999999")],
    ids=repr,
)  # fmt: skip
def test_no_amounts(value: str | int | Decimal) -> None:
    with pytest.raises(ValueError, match="an amount of USD"):
        parse_money(value)


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("api.openai.com", Origin("https", "api.openai.com", 443)),
        ("API.OpenAI.com", Origin("https", "api.openai.com", 443)),
        ("https://llm.internal:8443", Origin("https", "llm.internal", 8443)),
        ("https://llm.internal/", Origin("https", "llm.internal", 443)),
        ("http://127.0.0.1:9000", Origin("http", "127.0.0.1", 9000)),
        ("http://[::1]:9000", Origin("http", "::1", 9000)),
        ("[2001:db8::0:1]", Origin("https", "2001:db8::1", 443)),
        ("localhost:1", Origin("https", "localhost", 1)),
    ],
)
def test_origins(text: str, origin: Origin) -> None:
    assert parse_origin(text) == origin


@pytest.mark.parametrize(
    "text",
    ["", "https://", "ftp://a", "a/b", "https://a/v1", "a:0", "a:65536", "a:x", "u@a", "a?b", "a#b",
     "-a.b", "a..b", ".a", "a b", "1.2.3", "999.1.1.1", "[::1", "::1", "[zz::]", "*.openai.com",
     "a_b", "ä.de", "https://a:443:443", "0x7f.1", "a\n"],
)  # fmt: skip
def test_no_origins(text: str) -> None:
    with pytest.raises(ValueError, match="a host such as"):
        parse_origin(text)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:4141", Address("127.0.0.1", 4141)),
        ("[::1]:4141", Address("::1", 4141)),
        ("localhost:0", Address("localhost", 0)),
        ("0.0.0.0:80", Address("0.0.0.0", 80)),  # noqa: S104 - is read, not bound
    ],
)
def test_addresses(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "127.0.0.1", "4141", ":4141", "::1:80", "a:99999", "a:-1"])
def test_no_addresses(text: str) -> None:
    with pytest.raises(ValueError, match="an address such as"):
        parse_address(text)


def test_base_urls() -> None:
    assert parse_base_url("https://a.b/v1/x/") == Origin("https", "a.b", 443)
    for text in ("a.b/v1", "https://a/../b", "https://a?x", "https://u@a", "https://a//b", ""):
        with pytest.raises(ValueError, match="a base URL such as"):
            parse_base_url(text)
