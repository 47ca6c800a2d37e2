"""A gateway as a witness: the log it has seen may grow, and nothing else."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from tests.support.log_kit import SignedLog
from tests.support.manual_clock import ManualClock

from keylease.contracts import platform_link as wire
from keylease.errors import KeyleaseError, StorageCorrupt, WitnessRefused
from keylease.primitives.transparency.notes import KeyKind, NoteKey
from keylease.strongroom.link.witnessing import AuditWitness, reason_of


def offer(log: SignedLog, note: bytes, seen: int, **changes: object) -> wire.CheckpointOffer:
    proof = tuple(log.proof(seen)) if 0 < seen <= log.head.size else ()
    base: dict[str, object] = {
        "origin": log.head.origin,
        "size": log.head.size,
        "checkpoint": note,
        "old_size": seen,
        "proof": proof,
        "log_key": str(log.first_key),
    }
    return wire.CheckpointOffer(**{**base, **changes})  # type: ignore[arg-type]  # a test's own members


async def opened(directory: Path) -> AuditWitness:
    witness = AuditWitness(directory, clock=ManualClock())
    await witness.load("gateway-1")
    return witness


async def test_it_cosigns_what_grows_and_remembers_over_a_restart(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    first = await opened(tmp_path / "link")
    assert first.witnessed == wire.WitnessedSize()
    cosigned = await first.cosign(offer(log, log.grow(5), 0))
    assert NoteKey.parse(cosigned.witness_key).kind is KeyKind.COSIGNER
    again = await opened(tmp_path / "link")
    assert again.witnessed == wire.WitnessedSize(origin=log.head.origin, size=5)
    later = await again.cosign(offer(log, log.grow(7), 5))
    assert (later.size, later.witness_key) == (12, cosigned.witness_key)
    key = tmp_path / "link" / "witness-key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


async def test_it_refuses_a_log_that_is_not_what_it_was(tmp_path: Path) -> None:
    log = SignedLog(tmp_path / "log")
    witness = await opened(tmp_path / "link")
    small = log.grow(5)
    await witness.cosign(offer(log, small, 0))
    before = witness.witnessed
    other = SignedLog(tmp_path / "other", log.signer)
    split = other.grow(5, make=lambda n: b"other %d" % n)
    stranger = SignedLog(tmp_path / "stranger")
    attempts = {
        "split_view": offer(other, split, 5),
        "another_log": offer(stranger, stranger.grow(9), 0, origin="keylease/anew"),
        "key_changed": offer(log, small, 5, log_key=str(stranger.first_key)),
    }
    for reason, attempt in attempts.items():
        with pytest.raises(KeyleaseError) as refused:
            await witness.cosign(attempt)
        assert reason_of(refused.value) == reason or isinstance(refused.value, WitnessRefused)
    grown = log.grow(3)
    with pytest.raises(WitnessRefused):
        await witness.cosign(offer(log, grown, 5, proof=()))
    assert witness.witnessed == before
    await witness.cosign(offer(log, grown, 5))


@pytest.mark.parametrize("name", ["witness-key", "witnessed"])
async def test_what_is_damaged_is_not_begun_again(tmp_path: Path, name: str) -> None:
    log = SignedLog(tmp_path / "log")
    witness = await opened(tmp_path / "link")
    await witness.cosign(offer(log, log.grow(5), 0))
    (tmp_path / "link" / name).write_bytes(b"\xff?")
    with pytest.raises(StorageCorrupt):
        await opened(tmp_path / "link")
