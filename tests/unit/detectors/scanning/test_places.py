"""Secrets inside encodings, and exactly where they stand in the original bytes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import urllib.parse
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.secret_templates import fill

from keylease.detectors.scanning import Confidence, Match, Scanner
from keylease.detectors.scanning.scanner import AFTER, BEFORE, BLOCK

SCANNER = Scanner()
PROJECT_KEY = "sk-proj-{d:74}{openai}{d:74}"


def opened(match: Match) -> str:
    return match.secret.reveal(why="a test compares it").decode()


def only(data: bytes, name: str = "") -> Match:
    matches = [m for m in SCANNER.scan(data, name=name) if m.confidence is not Confidence.LOW]
    assert len(matches) == 1
    return matches[0]


def as_json(text: str) -> str:
    """A JSON string in which everything is escaped that may be, as some writers do."""
    return json.dumps(text).replace("/", "\\/").replace("-", "\\u002d")


def as_url(text: str) -> str:
    return "".join(f"%{ord(character):02x}" for character in text)


def as_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def in_lines(text: str) -> str:
    encoded = as_base64(text)
    return "\n  ".join(encoded[at : at + 76] for at in range(0, len(encoded), 76))


def as_hex(text: str) -> str:
    return text.encode().hex()


def unseen(text: str) -> str:
    """With a character in each word that nobody sees."""
    return "".join(f"{letter}\u200b" if letter in "4jT" else letter for letter in text)


WRAPPINGS: dict[str, Callable[[str], str]] = {
    "json": as_json,
    "url": as_url,
    "hex": as_hex,
    "invisible": unseen,
    "base64": as_base64,
    "base64 in lines": in_lines,
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@given(seed=st.integers(0, 2**32), before=st.integers(0, 40), after=st.integers(0, 40))
@settings(max_examples=40, deadline=None)
def test_what_the_place_covers_is_the_secret(
    wrapping: str, seed: int, before: int, after: int
) -> None:
    secret = fill(PROJECT_KEY, seed)
    text = WRAPPINGS[wrapping]("x" * before + " key: " + secret + " " + "y" * after)
    data = f"first: {text} \nlast".encode()
    match = only(data)
    assert opened(match) == secret
    assert match.encodings == (wrapping.split(maxsplit=1)[0],)
    shown = data[match.start : match.end].decode()
    if wrapping == "json":
        assert json.loads(f'"{shown}"') == secret
    elif wrapping == "url":
        assert urllib.parse.unquote(shown) == secret
    elif wrapping == "hex":
        assert bytes.fromhex(shown).decode() == secret
    elif wrapping == "invisible":
        assert shown.replace("\u200b", "") == secret
    else:
        # Base64 has no borders between bytes: whatever the place leaves holds no whole character.
        rest = data[: match.start].decode() + data[match.end :].decode()
        left = rest.split()[1]
        left = base64.b64decode(left[: len(left) // 4 * 4]).decode("latin-1")
        assert secret[1:20] not in left
        assert len("".join(shown.split())) <= len(secret) * 4 / 3 + 3


@given(seed=st.integers(0, 2**32), before=st.integers(0, 40), after=st.integers(0, 40))
@settings(max_examples=60, deadline=None)
def test_in_base64_the_place_is_every_character_that_holds_a_bit_of_it(
    seed: int, before: int, after: int
) -> None:
    secret = fill(PROJECT_KEY, seed)
    text = "x" * before + " " + secret + " " * (1 + after) + "y"
    match = only(f"d: {as_base64(text)}\n".encode())
    first, end = before + 1, before + 1 + len(secret)
    assert match.start == 3 + first * 8 // 6
    assert match.end == 3 + -(-end * 8 // 6)


@given(
    st.lists(st.sampled_from(["json", "url", "base64"]), min_size=2, max_size=3),
    st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_encodings_inside_each_other_are_taken_off(order: list[str], seed: int) -> None:
    secret = fill(PROJECT_KEY, seed)
    text = secret
    for wrapping in order:
        text = WRAPPINGS[wrapping](f"a={text} ")
    data = f"<{text}>".encode()
    found = [match for match in SCANNER.scan(data) if match.kind == "openai-project-key"]
    assert [opened(match) for match in found] == [secret]
    assert 0 < found[0].start < found[0].end < len(data)


def test_a_notebook_a_manifest_and_a_release() -> None:
    secret = fill("hf_{l:34}", 4)
    deployment = f"env:\n- name: HF_TOKEN\n  value: {as_base64(secret)}\n"
    release = gzip.compress(json.dumps({"manifest": deployment}).encode())
    data = b"data:\n  release: " + base64.b64encode(base64.b64encode(release)) + b"\n"
    match = only(data)
    assert opened(match) == secret
    assert match.encodings == ("base64", "base64", "gzip", "base64")
    assert match.inner is not None
    content = gzip.decompress(base64.b64decode(base64.b64decode(data[match.start : match.end])))
    assert base64.b64decode(content[slice(*match.inner)]).decode() == secret


def test_a_compressed_file_is_searched_and_its_place_is_the_stream() -> None:
    first, second = fill(PROJECT_KEY, 1), fill(PROJECT_KEY, 2)
    content = f"{'x ' * 500}\n{first}\n{second}\n".encode()
    data = gzip.compress(content)
    matches = SCANNER.scan(data)
    assert [opened(match) for match in matches] == [first, second]
    assert {(match.start, match.end) for match in matches} == {(0, len(data))}
    assert [content[slice(*(m.inner or (0, 0)))].decode() for m in matches] == [first, second]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-8-sig"])
def test_other_encodings_of_text_are_read(encoding: str) -> None:
    secret = fill(PROJECT_KEY, 3)
    data = f'$env:NAME = "Zoë 🔑"\r\n$env:KEY = "{secret}"\r\n'.encode(encoding)
    match = only(data)
    assert opened(match) == secret
    plain = data[match.start : match.end].replace(b"\0", b"")
    assert plain.decode() == secret


@pytest.mark.parametrize("around", ["密钥{}结束", "ключ{}конец", "clé={}é", "🔑{}🔑"])
def test_places_are_bytes_whatever_letters_stand_around(around: str) -> None:
    secret = fill(PROJECT_KEY, 5)
    data = around.format(secret).encode()
    match = only(data)
    assert data[match.start : match.end].decode() == secret


@pytest.mark.parametrize("offset", [-200, -155, -80, -1, 0, 1, 80])
@pytest.mark.parametrize("blocks", [1, 2])
def test_secrets_across_the_borders_of_blocks_are_found_once(offset: int, blocks: int) -> None:
    secret = fill(PROJECT_KEY, offset)
    line = b"a line of text without anything in it\n"
    place = blocks * BLOCK + offset
    data = (line * (place // len(line) + 1))[: place - 1] + b" " + secret.encode() + b" "
    data += line * ((AFTER + BEFORE) // len(line) + 1)
    matches = SCANNER.scan(data)
    assert [(match.start, opened(match)) for match in matches] == [(place, secret)]


def test_base64_longer_than_a_block_is_decoded_whole() -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    secret = fill(PROJECT_KEY, 8)
    text = " ".join(str(chance.random()) for _ in range(80_000)) + f"\n{secret}\n"
    data = b'{"data": "' + base64.b64encode(text.encode()) + b'"}'
    assert len(data) > BLOCK
    match = only(data)
    assert opened(match) == secret
    assert match.start > BLOCK


def test_a_short_line_behind_base64_is_no_part_of_it() -> None:
    secret = fill("sk-{w:20}{openai}{w:20}", 6)
    assert len(as_base64(secret)) % 4 == 0
    match = only(f"data:\n  api-key: {as_base64(secret)}\nkind: Secret\n".encode())
    assert opened(match) == secret


@given(st.binary(max_size=3000))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_searched_without_an_error(data: bytes) -> None:
    for match in SCANNER.scan(data, name="x/y"):
        assert 0 <= match.start < match.end <= len(data)


@given(st.text(max_size=500), st.sampled_from(sorted(WRAPPINGS)))
@settings(max_examples=200, deadline=None)
def test_any_encoded_text_is_searched_without_an_error(text: str, wrapping: str) -> None:
    clean = text.encode("ascii", "replace").decode()
    data = WRAPPINGS[wrapping](f"{clean} key={clean}").encode()
    for match in SCANNER.scan(data):
        assert 0 <= match.start < match.end <= len(data)


@pytest.mark.parametrize("wrap", [as_base64, as_hex])
@pytest.mark.parametrize("ahead", [0, 1, 13, 26, 27, 39, 40, 100])
def test_what_begins_just_before_a_block_ends_is_found(
    wrap: Callable[[str], str], ahead: int
) -> None:
    secret = fill(PROJECT_KEY, 11)
    start = BLOCK - ahead
    text = wrap(f"the key: {secret} ok").encode()
    data = b"." * (start - 1) + b" " + text + b" " + b"." * (2 * AFTER)
    assert opened(only(data)) == secret


@pytest.mark.parametrize("digits", ["", "a", "6b65", "123"])
def test_hexadecimal_may_stand_behind_other_digits(digits: str) -> None:
    secret = fill(PROJECT_KEY, 12)
    match = only(f"dump {digits}{as_hex(f'key={secret}')} end".encode())
    assert opened(match) == secret


@pytest.mark.parametrize("digits", ["3", "61", "3132333435"])
def test_a_long_number_is_no_text_and_no_omission(digits: str) -> None:
    found = SCANNER.examine((digits * 5000).encode())
    assert not found.matches
    assert not found.omissions


def test_digests_are_no_texts() -> None:
    digests = " ".join(hashlib.sha256(bytes([n])).hexdigest() for n in range(200))
    assert SCANNER.scan(digests.encode()) == []
