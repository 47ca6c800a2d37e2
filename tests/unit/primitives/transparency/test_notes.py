"""Signed notes, checkpoints, cosignatures and rotated keys: formats, and ways to be wrong."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.log_kit import ORIGIN, signer

from keylease.errors import NoteInvalid
from keylease.primitives.transparency.checkpoints import (
    TreeHead,
    open_checkpoint,
    sign_head,
    unverified_head,
    with_cosignatures,
)
from keylease.primitives.transparency.log_keys import (
    join_notes,
    key_before,
    resolve_keys,
    sign_rotation,
    split_notes,
)
from keylease.primitives.transparency.merkle import EMPTY_ROOT
from keylease.primitives.transparency.notes import (
    KeyKind,
    NoteKey,
    UnverifiedNote,
    open_note,
    parse_note,
)

KNOWN_KEY = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
"""Key and note of the documentation of golang.org/x/mod/sumdb/note, which the format is from."""
KNOWN_NOTE = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
    "\n"
    "\N{EM DASH} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfq"
    "dngotpRZb6KE6RyyBwJnAM=\n"
).encode()
HEAD = TreeHead(ORIGIN, 7, b"\x05" * 32)


def test_a_note_of_another_implementation_is_read() -> None:
    key = NoteKey.parse(KNOWN_KEY)
    assert str(key) == KNOWN_KEY
    opened = open_note(KNOWN_NOTE, [key])
    assert opened.text.startswith("If you think cryptography")
    assert parse_note(KNOWN_NOTE).encode() == KNOWN_NOTE


@given(position=st.integers(0, len(KNOWN_NOTE) - 1), flip=st.integers(1, 255))
def test_a_note_changed_anywhere_does_not_open(position: int, flip: int) -> None:
    changed = bytearray(KNOWN_NOTE)
    changed[position] ^= flip
    with pytest.raises(NoteInvalid):
        open_note(bytes(changed), [NoteKey.parse(KNOWN_KEY)])


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        "name+00000000+AQ==",
        KNOWN_KEY.replace("c74f20a3", "c74f20a4"),
        KNOWN_KEY.replace("ARpc", "Ahpc"),
        KNOWN_KEY.replace("Peter", "Pet er"),
        KNOWN_KEY + "=",
        "+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        NoteKey.parse(text)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"text\n",
        b"\n\n",
        b"text\n\n",
        b"text\n\nno signature\n",
        b"text\r\n" + KNOWN_NOTE,
        b"\xff" + KNOWN_NOTE,
        KNOWN_NOTE[:-1],
        KNOWN_NOTE + "\N{EM DASH} x AAAA\n".encode(),
        KNOWN_NOTE + "\N{EM DASH} x not-base64!\n".encode(),
        KNOWN_NOTE + b"x" * 1024 * 1024,
        b"text\n\n" + KNOWN_NOTE.split(b"\n\n")[1] * 65,
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteInvalid):
        open_note(data, [NoteKey.parse(KNOWN_KEY)])


def test_signatures_of_unknown_keys_are_ignored_and_wrong_ones_of_known_keys_are_not() -> None:
    ours, theirs = signer(), signer()
    both = UnverifiedNote("text\n", (theirs.sign("text\n"), ours.sign("text\n")))
    assert [item.key for item in open_note(both.encode(), [ours.public]).verified] == [ours.public]
    wrong = UnverifiedNote("text\n", (theirs.sign("other\n"), ours.sign("text\n")))
    open_note(wrong.encode(), [ours.public])
    with pytest.raises(NoteInvalid, match="does not hold"):
        open_note(wrong.encode(), [ours.public, theirs.public])
    with pytest.raises(NoteInvalid, match="None of the trusted"):
        open_note(wrong.encode(), [])


@pytest.mark.parametrize(
    "text",
    [
        f"{ORIGIN}\n7\n",
        f"{ORIGIN}\n07\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n-1\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(bytes(31)).decode()}\n",
        f"\n7\n{base64.b64encode(bytes(32)).decode()}\n",
        f"{ORIGIN}\n7\n{base64.b64encode(bytes(32)).decode()}\nextension\n",
        f"{ORIGIN}\n99999999999999999999\n{base64.b64encode(bytes(32)).decode()}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    with pytest.raises(NoteInvalid):
        TreeHead.parse(text)


def test_a_cosignature_has_a_time_and_is_no_log_signature() -> None:
    log, witness = signer(), signer("gateway/one", KeyKind.COSIGNER)
    note = sign_head(HEAD, log)
    line = witness.sign(HEAD.text, at=1_700_000_000).line
    cosigned = with_cosignatures(note, line, [witness.public])
    opened = open_checkpoint(cosigned, log_keys=[log.public], witness_keys=[witness.public])
    assert [(item.witness, item.at) for item in opened.cosigned] == [("gateway/one", 1_700_000_000)]
    assert unverified_head(cosigned) == HEAD
    with pytest.raises(NoteInvalid):  # a witness alone does not speak for the log
        open_checkpoint(
            UnverifiedNote(HEAD.text, (witness.sign(HEAD.text, at=1),)).encode(),
            log_keys=[log.public, witness.public],
            witness_keys=[witness.public],
        )
    forged = signer("gateway/one", KeyKind.COSIGNER).sign(HEAD.text, at=1)
    assert with_cosignatures(note, forged.line, [witness.public]) == note  # another key: left out
    replayed = witness.sign(TreeHead(ORIGIN, 8, HEAD.root).text, at=1)
    with pytest.raises(NoteInvalid):
        with_cosignatures(note, replayed.line, [witness.public])
    newer = with_cosignatures(cosigned, witness.sign(HEAD.text, at=5).line, [witness.public])
    assert len(parse_note(newer).signatures) == 2


def test_keys_hand_over_and_are_bound_to_their_sizes() -> None:
    first, second, third = signer(), signer(), signer()
    one = sign_rotation(HEAD, old=first, new=second)
    two = sign_rotation(TreeHead(ORIGIN, 9, HEAD.root), old=second, new=third)
    notes = split_notes(join_notes([one, two]))
    assert notes == [one, two]
    chain = resolve_keys([first.public], notes)
    assert len(chain.rotations) == 2
    for key, sizes in ((first, (0, 7)), (second, (7, 9)), (third, (9, 100))):
        for size in sizes:
            chain.open(sign_head(TreeHead(ORIGIN, size, EMPTY_ROOT), key))
    for key, size in ((first, 8), (second, 6), (second, 10), (third, 8)):
        with pytest.raises(NoteInvalid, match="may not sign"):
            chain.open(sign_head(TreeHead(ORIGIN, size, EMPTY_ROOT), key))
    late = resolve_keys([third.public], notes)
    assert late.rotations == ()
    late.open(sign_head(TreeHead(ORIGIN, 100, EMPTY_ROOT), third))
    assert key_before(two, third.public) == second.public
    assert key_before(two, second.public) is None


def test_nobody_else_can_name_a_key() -> None:
    first, second, stranger = signer(), signer(), signer()
    forged = sign_rotation(HEAD, old=stranger, new=second)
    assert len(resolve_keys([first.public], [forged]).periods) == 1
    text = parse_note(sign_rotation(HEAD, old=first, new=second)).unverified_text
    alone = UnverifiedNote(text, (first.sign(text),)).encode()
    with pytest.raises(NoteInvalid):  # the new key has not agreed
        resolve_keys([first.public], [alone])
    with pytest.raises(NoteInvalid):
        resolve_keys([first.public], [sign_head(HEAD, first)])
    with pytest.raises(NoteInvalid):
        resolve_keys([], [])
    with pytest.raises(NoteInvalid):
        resolve_keys([first.public, signer("another/log").public], [])
    with pytest.raises(NoteInvalid):
        resolve_keys([first.public], []).open(
            sign_head(TreeHead("another/log", 1, EMPTY_ROOT), first)
        )
    for damaged in (b"12", b"x\nabc", b"5\nabc", b"0\n"):
        with pytest.raises(NoteInvalid):
            split_notes(damaged)
