"""API keys: made, read back, and told from what only looks like one."""

from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.contracts import api_keys
from keylease.contracts.api_keys import ApiKeyKind, is_well_formed, mint, parse
from keylease.errors import ApiKeyMalformed

KINDS = st.sampled_from(ApiKeyKind)
RANDOM = st.binary(min_size=api_keys.RANDOM_BYTES, max_size=api_keys.RANDOM_BYTES)


def made(kind: ApiKeyKind, random: bytes) -> str:
    return mint(kind, lambda size: random[:size])


@given(KINDS, RANDOM)
def test_a_minted_key_is_read_back_with_its_kind(kind: ApiKeyKind, random: bytes) -> None:
    text = made(kind, random)
    assert parse(text).kind is kind
    assert len(text) == len(api_keys.PREFIXES[kind]) + 39
    assert is_well_formed(text)


def test_the_text_of_a_key_never_changes() -> None:
    # Stored digests and the detectors of older versions depend on every character.
    body = "k" + "l_" + "0" * 32 + "1"
    assert made(ApiKeyKind.API, bytes(23) + b"\x01").startswith(body)
    checksum, text = zlib.crc32(body.encode()), ""
    for _ in range(6):
        checksum, digit = divmod(checksum, 62)
        text = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"[digit] + text
    assert made(ApiKeyKind.API, bytes(23) + b"\x01") == body + text
    assert made(ApiKeyKind.INGEST, b"\xff" * 24).startswith("kl_ing_2")


@given(KINDS, RANDOM, st.data())
def test_a_changed_character_is_noticed(
    kind: ApiKeyKind, random: bytes, data: st.DataObject
) -> None:
    text = made(kind, random)
    place = data.draw(st.integers(min_value=len(api_keys.PREFIXES[kind]), max_value=len(text) - 1))
    other = data.draw(st.sampled_from("0123456789ABCDEFabcdef").filter(lambda c: c != text[place]))
    assert not is_well_formed(text[:place] + other + text[place + 1 :])


def test_the_kind_cannot_be_edited() -> None:
    ingest = mint(ApiKeyKind.INGEST)
    assert not is_well_formed(ingest.replace("kl_ing_", "kl_"))


def broken(key: str) -> dict[str, tuple[str, str]]:
    return {
        "a character short": (key[:-1], "wrong length"),
        "a character long": (key + "0", "wrong length"),
        "a line break behind": (key + "\n", "wrong length"),
        "no base62": (key[:-1] + "-", "wrong length"),
        "no ASCII": (key[:10] + "é" + key[11:], "wrong length"),
        "another last character": (key[:-1] + ("1" if key[-1] != "1" else "2"), "checksum"),
        "another prefix": ("sk-" + key[3:], "no API key"),
        "a space before": (" " + key, "no API key"),
        "nothing": ("", "no API key"),
    }


@pytest.mark.parametrize("case", broken("0" * 42))
def test_what_is_no_key_is_refused_without_being_shown(case: str) -> None:
    key = mint(ApiKeyKind.API)
    text, message = broken(key)[case]
    with pytest.raises(ApiKeyMalformed, match=message) as raised:
        parse(text)
    assert key[3:20] not in str(raised.value)


def test_a_parsed_key_does_not_print_itself() -> None:
    text = mint(ApiKeyKind.API)
    key = parse(text)
    for shown in (repr(key), str(key), f"{key}", key.hint):
        assert text not in shown
        assert text[-30:] not in shown
    assert text.startswith(key.hint.removesuffix("..."))


def test_the_digest_is_the_same_for_the_same_key_only() -> None:
    first, second = mint(ApiKeyKind.API), mint(ApiKeyKind.API)
    assert parse(first).digest == parse(first).digest != parse(second).digest
    assert len(parse(first).digest) == 64
