"""The witness: it signs what continues what it has seen, and refuses everything else."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.log_kit import ORIGIN, SignedLog, signer
from tests.support.manual_clock import ManualClock

from keylease.errors import NoteInvalid, StorageCorrupt, WitnessRefused
from keylease.primitives.transparency.checkpoints import TreeHead, open_checkpoint, sign_head
from keylease.primitives.transparency.directory import ROTATIONS
from keylease.primitives.transparency.log_keys import split_notes
from keylease.primitives.transparency.merkle import leaf_hash
from keylease.primitives.transparency.notes import KeyKind
from keylease.primitives.transparency.witness import Witness

KEY = signer("gateway/one", KeyKind.COSIGNER)


@pytest.fixture
def log(tmp_path: Path) -> SignedLog:
    return SignedLog(tmp_path / "log")


@pytest.fixture
def witness(tmp_path: Path, log: SignedLog) -> Witness:
    found = Witness(tmp_path / "witness", KEY, clock=ManualClock())
    found.introduce(log.first_key)
    return found


def refusal(witness: Witness, note: bytes, old: int, proof: list[bytes]) -> str:
    with pytest.raises(WitnessRefused) as caught:
        witness.cosign(note, old_size=old, proof=proof)
    return caught.value.reason


def test_it_follows_a_log_that_grows(witness: Witness, log: SignedLog, tmp_path: Path) -> None:
    seen = 0
    for step in (1, 6, 250, 300):
        note = log.grow(step)
        proof = log.proof(seen) if seen else []
        signature = witness.cosign(note, old_size=seen, proof=proof)
        seen = log.head.size
        assert signature.name == "gateway/one"
        again = Witness(tmp_path / "witness", KEY, clock=ManualClock())
        assert again.size(ORIGIN) == seen
        kept = again.note(ORIGIN)
        assert kept is not None
        opened = open_checkpoint(kept, log_keys=[log.first_key], witness_keys=[witness.key])
        assert opened.head == log.head
        assert len(opened.cosigned) == 1
    witness.cosign(note, old_size=seen)  # the same again: a newer time


def test_it_refuses_a_rollback_a_split_view_and_another_history(
    witness: Witness, log: SignedLog, tmp_path: Path
) -> None:
    small = log.grow(5)
    note = log.grow(5)
    witness.cosign(note, old_size=0)
    assert refusal(witness, small, 10, []) == "rollback"
    assert refusal(witness, small, 5, []) == "rollback"
    other = SignedLog(tmp_path / "other", log.signer)
    contradiction = other.grow(10, make=lambda n: b"other %d" % n)
    assert refusal(witness, contradiction, 10, []) == "split_view"
    kept = [path.read_bytes() for path in (tmp_path / "witness").glob("*.contradiction-*")]
    assert kept == [contradiction]
    longer = other.grow(10)
    assert refusal(witness, longer, 10, other.proof(10)) == "inconsistent"
    assert refusal(witness, longer, 5, other.proof(5)) == "unknown_size"
    assert refusal(witness, longer, 10, []) == "inconsistent"
    assert witness.size(ORIGIN) == 10
    witness.cosign(log.grow(10), old_size=10, proof=log.proof(10))


def test_it_signs_for_logs_it_knows_only(witness: Witness, log: SignedLog) -> None:
    head = TreeHead("another/log", 1, leaf_hash(b""))
    assert refusal(witness, sign_head(head, signer("another/log")), 0, []) == "unknown_log"
    forged = sign_head(TreeHead(ORIGIN, 1, leaf_hash(b"")), signer())
    assert refusal(witness, forged, 0, []) == "not_signed"
    with pytest.raises(WitnessRefused, match="another key"):
        witness.introduce(signer().public)
    witness.introduce(log.first_key)
    with pytest.raises(NoteInvalid):
        witness.cosign(b"\xff\xfe\n", old_size=0)


def test_it_follows_the_logs_own_rotations(witness: Witness, log: SignedLog) -> None:
    witness.cosign(log.grow(3), old_size=0)
    log.rotate()
    note = log.grow(3)
    assert refusal(witness, note, 3, log.proof(3)) == "not_signed"
    with pytest.raises(WitnessRefused):
        witness.introduce(log.signer.public)
    rotations = split_notes(log.reader.read(ROTATIONS) or b"")
    witness.introduce(log.signer.public, rotations)
    witness.introduce(log.signer.public, rotations)
    witness.cosign(note, old_size=3, proof=log.proof(3))


def test_what_it_remembers_cannot_be_swapped(
    witness: Witness, log: SignedLog, tmp_path: Path
) -> None:
    small = log.grow(5)
    witness.cosign(small, old_size=0)
    [state] = (tmp_path / "witness").glob("*.checkpoint")
    state.write_bytes(log.grow(5))  # signed by the log, never by this witness
    with pytest.raises(StorageCorrupt):
        witness.size(ORIGIN)
    with pytest.raises(StorageCorrupt):
        witness.cosign(small, old_size=5)


def test_nothing_is_signed_that_could_not_be_remembered(
    witness: Witness, log: SignedLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    note = log.grow(5)

    def full(*_: object) -> None:
        raise ZeroDivisionError

    with monkeypatch.context() as patched:
        patched.setattr("keylease.primitives.transparency.witness.replace", full)
        with pytest.raises(ZeroDivisionError):
            witness.cosign(note, old_size=0)
    assert witness.size(ORIGIN) == 0


def test_it_does_not_learn_logs_without_end(
    witness: Witness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("keylease.primitives.transparency.witness._MAXIMUM_LOGS", 1)
    with pytest.raises(WitnessRefused, match="knows 1 logs"):
        witness.introduce(signer("another/log").public)


def test_a_logs_key_is_no_witness(tmp_path: Path) -> None:
    with pytest.raises(NoteInvalid):
        Witness(tmp_path, signer(), clock=ManualClock())
