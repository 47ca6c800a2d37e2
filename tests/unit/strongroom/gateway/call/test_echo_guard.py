from __future__ import annotations

import base64
import json
import secrets
import urllib.parse
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import CredentialEchoed
from keylease.strongroom.gateway.call.echo_guard import EchoGuard, Needle, Needles, Probe
from keylease.strongroom.gateway.call.secret_forms import forms_of


def guard_of(secret: bytes) -> EchoGuard:
    return EchoGuard(Needles(forms_of(secret)))


SECRET = b"sk-test-" + secrets.token_hex(16).encode()


def test_pieces_pass_one_to_one_and_at_once() -> None:
    guard = guard_of(SECRET)
    pieces = [b"data: {}\n\n", b"data: [DONE]\n\n", b"", b"x"]
    assert [guard.feed(piece) for piece in pieces] == pieces
    assert guard.finish() == b""


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_the_secret_never_passes_wherever_it_is_cut(cut: int) -> None:
    guard = guard_of(SECRET)
    passed = guard.feed(b"before " + SECRET[:cut])
    assert passed == b"before "
    with pytest.raises(CredentialEchoed):
        guard.feed(SECRET[cut:] + b" after")


def test_the_secret_never_passes_byte_by_byte() -> None:
    guard = guard_of(SECRET)
    passed = b""
    for byte in b"xx" + SECRET[:-1]:
        passed += guard.feed(bytes([byte]))
    with pytest.raises(CredentialEchoed):
        guard.feed(SECRET[-1:])
    assert passed == b"xx"


def test_what_only_looked_like_the_beginning_passes_later() -> None:
    guard = guard_of(SECRET)
    assert guard.feed(b"see sk-test-") == b"see "
    assert guard.feed(b"nothing") == b"sk-test-nothing"
    assert guard.feed(b"ends with s") == b"ends with "
    assert guard.finish() == b"s"


def test_header_values_are_checked_whole() -> None:
    guard = guard_of(SECRET)
    guard.check(SECRET[:-1])
    with pytest.raises(CredentialEchoed) as echoed:
        guard.check(b"Bearer " + SECRET)
    assert SECRET.decode() not in str(echoed.value)


def test_names_of_fields_are_checked_without_regard_to_case() -> None:
    guard = guard_of(b"sk-Test-AbCdEf")
    guard.check(b"x-ratelimit-sk-test-abcde: f\r\n")
    with pytest.raises(CredentialEchoed):
        guard.check(b"x-ratelimit-sk-test-abcdef: 1\r\n")


@given(
    st.lists(st.binary(max_size=6)),
    st.binary(min_size=1, max_size=4),
    st.sampled_from([b"abab", b"aab", b"aaaa", b"ab"]),
)
def test_nothing_is_lost_and_nothing_leaks(
    pieces: list[bytes], filler: bytes, secret: bytes
) -> None:
    alphabet = bytes(b"ab"[byte % 2] for byte in filler)
    stream = [bytes(b"ab"[byte % 2] for byte in piece) for piece in [*pieces, alphabet]]
    guard = EchoGuard(Needles((secret,)))
    passed = b""
    try:
        for piece in stream:
            passed += guard.feed(piece)
        passed += guard.finish()
    except CredentialEchoed:
        assert secret in b"".join(stream)
    else:
        assert passed == b"".join(stream)
    assert secret not in passed


AWKWARD = b"k\"\\/<&>=+'`%" + secrets.token_urlsafe(12).encode()
FORMS: dict[str, Callable[[bytes], bytes]] = {
    "json": lambda secret: json.dumps(secret.decode()).encode(),
    "json, PHP": lambda secret: json.dumps(secret.decode()).replace("/", "\\/").encode(),
    "json, Go": lambda secret: (
        json.dumps(secret.decode())
        .replace("<", "\\u003c")
        .replace(">", "\\u003e")
        .replace("&", "\\u0026")
        .encode()
    ),
    "url": lambda secret: urllib.parse.quote(secret, safe="").encode(),
    "form": lambda secret: urllib.parse.urlencode({"key": secret}).encode(),
    "base64": base64.b64encode,
    "base64 for URLs": base64.urlsafe_b64encode,
    "basic": lambda secret: base64.b64encode(b"user:" + secret),
    "bearer": lambda secret: base64.b64encode(b"Bearer " + secret + b" and more"),
    "in between": lambda secret: base64.b64encode(b"ab" + secret + b"c"),
}


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("secret", [SECRET, AWKWARD], ids=["plain", "awkward"])
def test_other_forms_of_the_secret_do_not_pass_either(name: str, secret: bytes) -> None:
    shown = FORMS[name](secret)
    needles = Needles(forms_of(secret))
    with pytest.raises(CredentialEchoed):
        EchoGuard(needles).check(b"x-a: " + shown + b"\r\n")
    for size in (1, 5, 1000):
        guard = EchoGuard(needles)
        text = b"before " + shown + b" after"
        passed = b""
        with pytest.raises(CredentialEchoed):  # noqa: PT012 - any of the pieces may be the one
            for at in range(0, len(text), size):
                passed += guard.feed(text[at : at + size])
        assert not any(needle.text[:9] in passed for needle in needles.all)


def test_a_plain_secret_has_few_forms() -> None:
    assert forms_of(SECRET)[0] == SECRET
    assert len(forms_of(b"sk-test-0123456789abcdef")) == 4, "itself, and base64 at three places"
    assert all(len(form) >= 8 for form in forms_of(b"12345678"))


KEYS_OF_PROVIDERS = (
    b"sk-proj-" + secrets.token_urlsafe(90).encode(),
    b"sk-ant-api03-" + secrets.token_urlsafe(60).encode(),
    secrets.token_hex(16).encode(),
    b"gsk_" + secrets.token_urlsafe(39).encode(),
    AWKWARD,
    b"aaaaaaaaab",
)


@pytest.mark.parametrize("secret", KEYS_OF_PROVIDERS, ids=range(len(KEYS_OF_PROVIDERS)))
@given(seed=st.integers(0, 2**64), dense=st.booleans())
def test_probes_find_what_is_there_and_nothing_else(
    secret: bytes, seed: int, *, dense: bool
) -> None:
    chance = Random(seed)  # noqa: S311 - texts; hypothesis would take a hundred times as long
    needles = Needles(forms_of(secret))
    # Either prose, or a text in which every probe is met all the time.
    alphabet = bytes(sorted(set(b"".join(needle.text for needle in needles.all))))
    letters = alphabet if dense else b" etaonirs.,{}"
    text = bytes(chance.choices(letters, k=chance.choice([0, 1, 40, 3000])))
    place = chance.randint(0, len(text))
    form = chance.choice(needles.all).text
    whole = text[:place] + form + text[place:]
    nearly = text[:place] + form[: chance.randint(0, len(form) - 1)] + text[place:]
    for data in (text, nearly, whole, whole[: place + len(form)], whole[place:]):
        there = any(needle.text in data for needle in needles.all)
        assert any(probe.finds(data) for probe in needles.probes) is there


def test_few_probes_do_for_all_forms() -> None:
    for secret in KEYS_OF_PROVIDERS[:2]:
        assert len(Needles(forms_of(secret)).probes) <= 2


def test_needles_do_not_show_what_they_look_for() -> None:
    shown = repr(Needles(forms_of(SECRET))) + repr(Needle(SECRET))
    assert "sk-test" not in shown + repr(Probe(SECRET[0], [SECRET]))
