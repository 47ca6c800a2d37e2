from __future__ import annotations

import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import CredentialEchoed
from keylease.strongroom.gateway.call.echo_guard import EchoGuard

SECRET = b"sk-test-" + secrets.token_hex(16).encode()


def test_pieces_pass_one_to_one_and_at_once() -> None:
    guard = EchoGuard(SECRET)
    pieces = [b"data: {}\n\n", b"data: [DONE]\n\n", b"", b"x"]
    assert [guard.feed(piece) for piece in pieces] == pieces
    assert guard.finish() == b""


@pytest.mark.parametrize("cut", range(1, len(SECRET)))
def test_the_secret_never_passes_wherever_it_is_cut(cut: int) -> None:
    guard = EchoGuard(SECRET)
    passed = guard.feed(b"before " + SECRET[:cut])
    assert passed == b"before "
    with pytest.raises(CredentialEchoed):
        guard.feed(SECRET[cut:] + b" after")


def test_the_secret_never_passes_byte_by_byte() -> None:
    guard = EchoGuard(SECRET)
    passed = b""
    for byte in b"xx" + SECRET[:-1]:
        passed += guard.feed(bytes([byte]))
    with pytest.raises(CredentialEchoed):
        guard.feed(SECRET[-1:])
    assert passed == b"xx"


def test_what_only_looked_like_the_beginning_passes_later() -> None:
    guard = EchoGuard(SECRET)
    assert guard.feed(b"see sk-test-") == b"see "
    assert guard.feed(b"nothing") == b"sk-test-nothing"
    assert guard.feed(b"ends with s") == b"ends with "
    assert guard.finish() == b"s"


def test_header_values_are_checked_whole() -> None:
    guard = EchoGuard(SECRET)
    guard.check(SECRET[:-1])
    with pytest.raises(CredentialEchoed) as echoed:
        guard.check(b"Bearer " + SECRET)
    assert SECRET.decode() not in str(echoed.value)


def test_names_of_fields_are_checked_without_regard_to_case() -> None:
    guard = EchoGuard(b"sk-Test-AbCdEf")
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
    guard = EchoGuard(secret)
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
