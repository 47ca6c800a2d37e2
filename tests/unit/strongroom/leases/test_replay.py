from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock

from keylease.errors import StorageCorrupt, StorageError, StorageFull, TokenExchangeRefused
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.leases.replay import SKEW, ReplayCache

ISSUER = "https://issuer.test"


def expiry(clock: ManualClock) -> int:
    return clock.now() // MICROSECONDS + 300


async def test_a_token_is_used_once(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    with pytest.raises(TokenExchangeRefused, match="used before"):
        await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    await cache.use(issuer=ISSUER, jti="2", expires_at=expiry(clock))
    await cache.use(issuer="https://other.test", jti="1", expires_at=expiry(clock))
    cache.close()


async def test_issuer_and_identifier_cannot_be_shifted_into_each_other(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    await cache.use(issuer="https://a", jti="bc", expires_at=expiry(clock))
    await cache.use(issuer="https://ab", jti="c", expires_at=expiry(clock))
    cache.close()


async def test_of_many_at_the_same_time_one_wins(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    results = await asyncio.gather(
        *(cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock)) for _ in range(20)),
        return_exceptions=True,
    )
    assert results.count(None) == 1
    cache.close()


async def test_a_used_token_stays_used_after_a_kill(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    again = ReplayCache(tmp_path, clock=clock)
    with pytest.raises(TokenExchangeRefused):
        await again.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    again.close()
    cache.close()


async def test_expired_tokens_are_forgotten_with_the_skew_of_clocks(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    cache.close()
    clock.advance(300 + SKEW - 1)
    cache = ReplayCache(tmp_path, clock=clock)
    assert len(cache._used) == 1
    cache.close()
    clock.advance(1)
    cache = ReplayCache(tmp_path, clock=clock)
    assert not cache._used
    assert (tmp_path / "used-subject-tokens").read_bytes() == b""
    cache.close()


async def test_a_full_cache_refuses_and_does_not_forget(tmp_path: Path) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock, maximum_entries=2)
    for jti in ("1", "2"):
        await cache.use(issuer=ISSUER, jti=jti, expires_at=expiry(clock))
    with pytest.raises(StorageFull):
        await cache.use(issuer=ISSUER, jti="3", expires_at=expiry(clock))
    with pytest.raises(TokenExchangeRefused):
        await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    clock.advance(300 + SKEW)
    await cache.use(issuer=ISSUER, jti="3", expires_at=expiry(clock))
    cache.close()


async def test_a_disk_that_fails_refuses_and_the_token_counts_as_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = ManualClock()
    cache = ReplayCache(tmp_path, clock=clock)
    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", lambda _fd, _data, _offset: 0)
        with pytest.raises(StorageError):
            await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    with pytest.raises(TokenExchangeRefused):
        await cache.use(issuer=ISSUER, jti="1", expires_at=expiry(clock))
    cache.close()


def test_a_foreign_line_stops_the_start(tmp_path: Path) -> None:
    cache = ReplayCache(tmp_path, clock=ManualClock())
    cache._journal.append(b"[]")
    cache.close()
    with pytest.raises(StorageCorrupt):
        ReplayCache(tmp_path, clock=ManualClock())
