"""P5: any edit, deletion, insertion, reorder, truncation, rollback or split view is found.

One test for each line of the tamper catalogue, against somebody who may write every file of the
log. ``insider`` means that they also have the log's key; then only a checkpoint from elsewhere
helps, and without one the verifier says "tail not proven".
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.support.log_kit import ORIGIN, SignedLog, Tampering, entry, signer, tree_of
from tests.support.manual_clock import ManualClock

from keylease.errors import LogFaulty, WitnessRefused
from keylease.primitives.transparency.checkpoints import TreeHead, sign_head
from keylease.primitives.transparency.directory import CHECKPOINT, WITNESSED
from keylease.primitives.transparency.export import verify_export
from keylease.primitives.transparency.merkle import EMPTY_ROOT
from keylease.primitives.transparency.notes import KeyKind, NoteKey
from keylease.primitives.transparency.verifier import Report, Trust
from keylease.primitives.transparency.witness import Witness

SIZE = 700
SEEN = 600
"""What the witness saw."""
TOUCHED = 300
WITNESS = signer("gateway/one", KeyKind.COSIGNER)


class Scene:
    """A log, a witness's checkpoint of its first 600 entries, and a copy to tamper with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = SignedLog(folder / "log")
        witness = Witness(folder / "witness", WITNESS, clock=ManualClock())
        witness.introduce(self.log.first_key)
        witness.cosign(self.log.grow(SEEN), old_size=0)
        self.witnessed = witness.note(ORIGIN) or b""
        self.witness = witness
        self.last = self.log.grow(SIZE - SEEN)
        self.copy = Tampering(self.log, folder / "copy")

    def verify(self) -> Report:
        return self.copy.verify(self.witnessed, witnesses=[WITNESS.public])

    def rewritten(self, change: Callable[[list[bytes]], object]) -> None:
        """The insider's way: everything made anew and signed with the log's own key."""
        entries = self.copy.entries()
        change(entries)
        self.copy.rebuild(entries, self.log.signer)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def flip(entries: list[bytes], at: int) -> None:
    entries[at] = entries[at].replace(b"policy", b"pelicy")


def delete(entries: list[bytes], at: int) -> None:
    del entries[at]


def insert(entries: list[bytes], at: int) -> None:
    entries.insert(at, b'{"id":"inserted"}')


def reorder(entries: list[bytes], at: int) -> None:
    entries[at], entries[at + 1] = entries[at + 1], entries[at]


def repeat(entries: list[bytes], at: int) -> None:
    entries[at + 1] = entries[at]


CHANGES = [flip, delete, insert, reorder, repeat]


def test_an_honest_log_is_proven(scene: Scene) -> None:
    report = scene.verify()
    assert report.size == SIZE
    assert [item.witness for item in report.cosigned] == ["gateway/one"]
    assert report.tail == "tail proven up to entry 599; 100 newer entries rest on the log's word"
    assert "tail proven" in scene.copy.verify(scene.last).tail


def test_without_a_checkpoint_from_elsewhere_the_tail_is_not_proven(scene: Scene) -> None:
    assert scene.copy.verify().tail.startswith("tail not proven")


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_bundle_is_found_at_its_entry(
    scene: Scene, change: Callable[[list[bytes], int], None]
) -> None:
    scene.copy.bundle(1, lambda entries: change(entries, TOUCHED - 256))
    with pytest.raises(LogFaulty) as caught:
        scene.copy.verify()
    assert caught.value.index == TOUCHED + (change is repeat)
    assert caught.value.place == "tile/entries/001"
    assert caught.value.step == 4


@pytest.mark.parametrize("change", CHANGES)
def test_a_log_made_anew_without_the_key_is_found(
    scene: Scene, change: Callable[[list[bytes], int], None]
) -> None:
    entries = scene.copy.entries()
    change(entries, TOUCHED)
    entries = [*entries, b"more"][:SIZE]
    scene.copy.rebuild(entries, None)
    with pytest.raises(LogFaulty):
        scene.copy.verify()
    with pytest.raises(LogFaulty) as caught:  # the witness's checkpoint narrows it down
        scene.verify()
    assert caught.value.step == 7
    assert "from 0 to 599" in caught.value.message


@pytest.mark.parametrize("change", CHANGES)
def test_an_insider_who_signs_a_new_history_is_found_with_a_witness(
    scene: Scene, change: Callable[[list[bytes], int], None]
) -> None:
    scene.rewritten(lambda entries: change(entries, TOUCHED))
    assert scene.copy.verify().tail.startswith("tail not proven")  # nothing contradicts it yet
    with pytest.raises(LogFaulty):
        scene.verify()


def test_any_flipped_byte_of_any_file_is_found(scene: Scene) -> None:
    chance = random.Random(5)  # noqa: S311 - places of damage
    files = [path for path in scene.copy.path.rglob("*") if path.is_file()]
    assert len(files) == 8
    for file in files:
        data = file.read_bytes()
        for position in {0, len(data) - 1, *(chance.randrange(len(data)) for _ in range(12))}:
            changed = bytearray(data)
            changed[position] ^= 1 << chance.randrange(8)
            file.write_bytes(changed)
            with pytest.raises(LogFaulty):
                scene.copy.verify()
        file.write_bytes(data)
    scene.copy.verify()


def test_any_removed_file_is_found(scene: Scene) -> None:
    for file in [path for path in scene.copy.path.rglob("*") if path.is_file()]:
        data = file.read_bytes()
        file.unlink()
        with pytest.raises(LogFaulty):
            scene.copy.verify()
        file.write_bytes(data)


def test_damaged_tiles_are_told_from_changed_entries(scene: Scene) -> None:
    for name in ("tile/0/001", "tile/1/000.p/2", "tile/0/002.p/188"):
        file = scene.copy.path / name
        data = file.read_bytes()
        file.write_bytes(bytes(32) + data[32:])
        with pytest.raises(LogFaulty, match="entries are those that were signed") as caught:
            scene.copy.verify()
        assert caught.value.place == name
        assert caught.value.index is None
        file.write_bytes(data)


def test_a_truncated_tail_is_found(scene: Scene) -> None:
    scene.copy.bundle(2, lambda entries: entries.__delitem__(-1))
    with pytest.raises(LogFaulty) as caught:
        scene.copy.verify()
    assert caught.value.index == SIZE - 1


def test_an_insiders_truncated_tail_is_found_with_a_checkpoint_from_elsewhere(
    scene: Scene,
) -> None:
    scene.rewritten(lambda entries: entries.__delitem__(slice(SEEN - 1, None)))
    assert scene.copy.verify().tail.startswith("tail not proven")
    with pytest.raises(LogFaulty, match="end was cut off") as caught:
        scene.verify()
    assert caught.value.index == SEEN - 1
    assert caught.value.step == 3


def test_a_rollback_to_an_old_checkpoint_is_found(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    log.grow(500)
    old = Tampering(log, tmp_path / "old")
    newer = log.grow(100)
    assert old.verify().tail.startswith("tail not proven")
    with pytest.raises(LogFaulty) as caught:
        old.verify(newer)
    assert caught.value.index == 500
    shutil.copy(old.path / CHECKPOINT, log.path / CHECKPOINT)  # old checkpoint, newer files
    with pytest.raises(LogFaulty):
        log.verify(newer)
    witness = Witness(tmp_path / "witness", WITNESS, clock=ManualClock())
    witness.introduce(log.first_key)
    witness.cosign(newer, old_size=0)
    with pytest.raises(WitnessRefused) as refused:
        witness.cosign((old.path / CHECKPOINT).read_bytes(), old_size=600)
    assert refused.value.reason == "rollback"


def test_two_clients_who_were_shown_two_logs_find_out(scene: Scene, tmp_path: Path) -> None:
    other = SignedLog(tmp_path / "other", scene.log.signer)
    theirs = other.grow(SIZE, make=lambda n: entry(n) if n != TOUCHED else b"for you only")
    other.verify()
    with pytest.raises(LogFaulty, match="two different trees"):
        scene.copy.verify(theirs)
    with pytest.raises(LogFaulty, match="two different trees"):
        other.verify(scene.last)
    with pytest.raises(WitnessRefused) as refused:
        scene.witness.cosign(theirs, old_size=SEEN, proof=other.proof(SEEN))
    assert refused.value.reason == "inconsistent"


def test_a_log_signed_with_another_key_is_found(scene: Scene) -> None:
    scene.copy.rebuild(scene.copy.entries(), signer())
    with pytest.raises(LogFaulty, match="None of the") as caught:
        scene.copy.verify()
    assert caught.value.step == 2
    scene.copy.rebuild(scene.copy.entries(), signer(ORIGIN))
    with pytest.raises(LogFaulty):
        scene.verify()


def test_a_retired_key_that_was_stolen_signs_nothing_new(scene: Scene, tmp_path: Path) -> None:
    stolen = scene.log.signer
    scene.log.rotate()
    scene.log.grow(50)
    scene.log.verify()
    copy = Tampering(scene.log, tmp_path / "rotated")
    head = scene.log.head
    (copy.path / CHECKPOINT).write_bytes(sign_head(head, stolen))
    with pytest.raises(LogFaulty, match="may not sign"):
        copy.verify()


def test_a_forged_checkpoint_from_elsewhere_proves_nothing(scene: Scene) -> None:
    forger = signer("gateway/one", KeyKind.COSIGNER)
    with pytest.raises(LogFaulty, match="No pinned witness"):
        scene.copy.verify(scene.witnessed, witnesses=[forger.public])
    with pytest.raises(LogFaulty, match="None of the"):
        scene.copy.verify(sign_head(scene.log.head, signer()))
    with pytest.raises(LogFaulty):
        scene.copy.verify(b"not a note")
    empty = sign_head(TreeHead(ORIGIN, 0, EMPTY_ROOT), scene.log.signer)
    assert scene.copy.verify(empty).outside_size == 0


def test_the_logs_own_witnessed_checkpoint_has_to_fit(scene: Scene) -> None:
    (scene.copy.path / WITNESSED).write_bytes(scene.witnessed)
    report = scene.copy.verify(witnesses=[WITNESS.public])
    assert [item.witness for item in report.cosigned] == ["gateway/one"]
    assert report.tail.startswith("tail not proven")  # it did not come from elsewhere
    scene.rewritten(lambda entries: flip(entries, TOUCHED))
    (scene.copy.path / WITNESSED).write_bytes(scene.witnessed)
    with pytest.raises(LogFaulty):
        scene.copy.verify()


def test_seventy_thousand_entries_are_verified(tmp_path: Path) -> None:
    """Two full levels of tiles; ``bench/audit.py`` measures a million."""
    log = SignedLog(tmp_path / "log")
    log.grow(66_000)
    log.grow(4_000)
    report = log.verify()
    assert report.root == tree_of([entry(number) for number in range(70_000)]).root()
    copy = Tampering(log, tmp_path / "copy")
    copy.bundle(200, lambda entries: flip(entries, 17))
    with pytest.raises(LogFaulty) as caught:
        copy.verify()
    assert caught.value.index == 200 * 256 + 17


# --- exports -----------------------------------------------------------------------------------


def verified(
    data: bytes,
    log: SignedLog,
    *outside: bytes,
    witnesses: Sequence[NoteKey] = (),
) -> Report:
    trust = Trust(log_keys=(log.first_key,), outside=outside, witness_keys=tuple(witnesses))
    return verify_export(data.splitlines(keepends=True), trust)


PART = [3, 100, 255, 256, 257, 699]


@pytest.mark.parametrize("wanted", [None, PART])
def test_an_export_is_proven(scene: Scene, wanted: list[int] | None) -> None:
    data = scene.log.export(wanted, sizes=[SEEN])
    report = verified(data, scene.log, scene.witnessed, witnesses=[WITNESS.public])
    assert report.outside_size == SEEN
    assert bool(report.completeness) == (wanted is not None)
    assert verified(data, scene.log).tail.startswith("tail not proven")


@pytest.mark.parametrize("wanted", [None, PART])
def test_an_export_changed_anywhere_is_found(scene: Scene, wanted: list[int] | None) -> None:
    data = scene.log.export(wanted, sizes=[SEEN])
    lines = data.splitlines(keepends=True)
    for at in (1, 2, len(lines) - 2):
        for changed in (
            [*lines[:at], lines[at].replace(b"policy", b"pelicy"), *lines[at + 1 :]],
            [*lines[:at], *lines[at + 1 :]],
            [*lines[:at], lines[at], *lines[at:]],
            [*lines[: at - 1], lines[at], lines[at - 1], *lines[at + 1 :]],
            lines[:at],
            [*lines[:at], b"{}\n", *lines[at:]],
        ):
            with pytest.raises(LogFaulty):
                verified(b"".join(changed), scene.log)
    for changed in ([], [*lines, lines[-1]], [*lines[:-1], b'{"entries":1}\n']):
        with pytest.raises(LogFaulty):
            verified(b"".join(changed), scene.log)
    with pytest.raises(LogFaulty):  # formatted anew, so no longer the logged bytes
        verified(data.replace(b'"at":', b'"at": '), scene.log)


def test_an_export_that_claims_to_be_complete_has_to_be(scene: Scene) -> None:
    part = scene.log.export(PART).replace(b'"complete":false', b'"complete":true')
    with pytest.raises(LogFaulty, match="Entry 0 is missing"):
        verified(part, scene.log)


def test_an_export_of_a_rewritten_log_is_found_with_a_witness(scene: Scene, tmp_path: Path) -> None:
    other = SignedLog(tmp_path / "other", scene.log.signer)
    other.grow(SIZE, make=lambda n: entry(n) if n != TOUCHED else b'{"id":"new"}')
    for wanted in (None, PART):
        data = other.export(wanted, sizes=[SEEN])
        verified(data, scene.log)
        with pytest.raises(LogFaulty):
            verified(data, scene.log, scene.witnessed)
    without_proof = scene.log.export(PART)
    with pytest.raises(LogFaulty, match="no consistency proof"):
        verified(without_proof, scene.log, scene.witnessed)
