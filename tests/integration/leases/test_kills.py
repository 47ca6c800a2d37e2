"""``kill -9`` in the middle of writing: what was acknowledged is there afterwards."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock

from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.revocation_store import RevocationStore

REVOKE = """
import sys
from pathlib import Path
from keylease.contracts.policy import Revocation, RevocationKind
from keylease.primitives.clock import SystemClock
from keylease.strongroom.leases.revocation_store import RevocationStore
store = RevocationStore(Path(sys.argv[1]), clock=SystemClock())
number = 0
while True:
    store.add(Revocation(kind=RevocationKind.LEASE, value=f"lease-{number}", at=2**52))
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
    number += 1
"""
USE = """
import asyncio, sys
from pathlib import Path
from keylease.primitives.clock import SystemClock
from keylease.strongroom.leases.replay import ReplayCache
async def main():
    cache = ReplayCache(Path(sys.argv[1]), clock=SystemClock())
    number = 0
    while True:
        await cache.use(issuer="https://issuer.test", jti=str(number), expires_at=2**40)
        sys.stdout.write(f"{number}\\n")
        sys.stdout.flush()
        number += 1
asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 50, 300])
@pytest.mark.parametrize("program", [REVOKE, USE], ids=["revocations", "used tokens"])
def test_what_was_acknowledged_survives_a_kill(tmp_path: Path, program: str, lines: int) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    acknowledged = [process.stdout.readline() for _ in range(lines)]
    process.send_signal(signal.SIGKILL)
    acknowledged += process.stdout.read().splitlines(keepends=True)
    process.stdout.close()
    process.wait()
    whole = sum(line.endswith(b"\n") for line in acknowledged)
    assert whole >= lines
    clock = ManualClock()
    if program is REVOKE:
        store = RevocationStore(tmp_path, clock=clock)
        names = {revocation.value for revocation in store.revocations()}
        assert {f"lease-{number}" for number in range(whole)} <= names
        assert len(names) <= whole + 1
        store.close()
    else:
        cache = ReplayCache(tmp_path, clock=clock)
        assert whole <= len(cache._used) <= whole + 1
        cache.close()
