"""The audit log's numbers: entries made durable, proofs at a million, a million verified offline.

    python bench/audit.py [--entries 1000000] [--directory PATH]

Entries go the real way: committed to SQLite (synchronous=FULL) with the change they are about,
sequenced into tiles on the disk (fsynced), covered by a signed checkpoint. The clock runs from the
first commit until the last entry is covered.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from keylease.contracts.audit import AuditAction, LoggedEntry
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.audit.interfaces import Audit, opened
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database, sqlite_url
from keylease.platform.db.migrate import migrate
from keylease.primitives.clock import SystemClock
from keylease.primitives.transparency.checkpoints import sign_head
from keylease.primitives.transparency.directory import LogWriter
from keylease.primitives.transparency.export import ExportHeader, export_line
from keylease.primitives.transparency.notes import NoteSigner
from keylease.primitives.transparency.proofs import consistency_proof, inclusion_proof
from keylease.primitives.transparency.tiles import TileHashes

ORG = "018f0000-0000-7000-8000-0000000000aa"
GATEWAY = "018f0000-0000-7000-8000-00000000000a"
ORIGIN = f"keylease/audit/{ORG}"
ADA = Caller(
    principal=Principal(PrincipalKind.USER, "018f0000-0000-7000-8000-000000000001"),
    organization_id=ORG,
)
AS_GATEWAY = Caller(principal=Principal(PrincipalKind.GATEWAY, GATEWAY), organization_id=ORG)
BATCH = 512
"""Entries of one push of a gateway, as the link sends them."""


def entry(number: int) -> bytes:
    return msgspec.json.encode(
        LoggedEntry(
            id=f"019e7044-8800-7000-8000-{number:012x}",
            sequence=number + 1,
            at=1_780_000_000_000_000 + number,
            organization_id=ORG,
            action=AuditAction.LEASE_ISSUED,
            principal="workload:018f0000-0000-7000-8000-0000000000cc",
            object=str(uuid.UUID(int=number)),
            details={"purpose": "production", "route": "018f0000-0000-7000-8000-0000000000dd"},
        )
    )


def row(name: str, value: str, goal: str) -> None:
    print(f"{name:<58} {value:>16}   {goal}", flush=True)


async def covered(audit: Audit, size: int) -> None:
    async with audit.sequencer.grown:
        while (await audit.log.size(ADA)) < size:
            await audit.sequencer.grown.wait()


async def durable(folder: Path) -> None:
    clock = SystemClock()
    database = Database(sqlite_url(folder / "platform.sqlite"), clock=clock)
    await migrate(database)
    async with opened(database, directory=folder / "audit", clock=clock) as audit:
        pushes = [[entry(n + at) for n in range(BATCH)] for at in range(0, 40 * BATCH, BATCH)]
        start = time.perf_counter()
        for push in pushes:
            await audit.intake.accept(AS_GATEWAY, GATEWAY, push)
        await covered(audit, 40 * BATCH)
        rate = 40 * BATCH / (time.perf_counter() - start)
        row(f"entries/s durable, in pushes of {BATCH}", f"{rate:,.0f}", "2,000 or more")

        for per_change in (1, 10, 100):
            changes = max(2000 // per_change, 50)
            before = await audit.log.size(ADA)
            start = time.perf_counter()
            await asyncio.gather(*(change(database, per_change) for _ in range(changes)))
            await covered(audit, before + changes * per_change)
            rate = changes * per_change / (time.perf_counter() - start)
            goal = "(one commit each)" if per_change == 1 else ""
            row(f"entries/s durable, {per_change} in each change", f"{rate:,.0f}", goal)
    await database.close()


async def change(database: Database, entries: int) -> None:
    async with database.transaction(ADA) as tx:
        for _ in range(entries):
            await tx.record(AuditAction.POLICY_LOADED, "018f0000-0000-7000-8000-0000000000ee")


def filled(folder: Path, entries: int) -> tuple[LogWriter, NoteSigner]:
    signer = NoteSigner(Ed25519PrivateKey.generate(), name=ORIGIN)
    writer = LogWriter(folder, None, origin=ORIGIN)
    start = time.perf_counter()
    for at in range(0, entries, 8192):
        head = writer.append([entry(n) for n in range(at, min(at + 8192, entries))])
        writer.publish(sign_head(head, signer))
    rate = entries / (time.perf_counter() - start)
    row(f"entries/s into tiles alone, to {entries:,}", f"{rate:,.0f}", "")
    return writer, signer


def proofs(writer: LogWriter) -> None:
    size = writer.head.size
    chance = random.Random(1)  # noqa: S311 - which entries are proven
    for name, prove in (("inclusion", inclusion_proof), ("consistency", consistency_proof)):
        times = []
        for _ in range(300):
            at = chance.randrange(1, size)
            start = time.perf_counter()
            hashes = TileHashes(writer.directory, size)  # nothing cached from the one before
            if prove is inclusion_proof:
                inclusion_proof(hashes, index=at, size=size)
            else:
                consistency_proof(hashes, old=at, size=size)
            times.append((time.perf_counter() - start) * 1000)
        times.sort()
        p50, p99 = statistics.median(times), times[int(len(times) * 0.99)]
        row(f"{name} proof at {size:,}, p50 / p99", f"{p50:.2f} / {p99:.2f} ms", "under 10 ms")


def exported(folder: Path, writer: LogWriter, signer: NoteSigner) -> Path:
    file = folder / "audit.ndjson"
    size = writer.head.size
    header = ExportHeader(
        origin=ORIGIN, size=size, complete=True, checkpoint=sign_head(writer.head, signer).decode()
    )
    with file.open("wb") as out:
        out.write(msgspec.json.encode(header) + b"\n")
        for at in range(0, size, 4096):
            stop = min(at + 4096, size)
            found = writer.directory.entries(at, stop, size=size)
            out.write(b"".join(map(export_line, range(at, stop), found)))
        out.write(b'{"entries":%d}\n' % size)
    return file


def verified(what: str, target: Path, key: str, *options: str) -> None:
    command = [sys.executable, "-m", "keylease", "audit", "verify", str(target), "--key", key]
    start = time.perf_counter()
    done = subprocess.run([*command, *options], capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    held = done.returncode in {0, 3}
    row(f"verified offline, {what}", f"{seconds:.1f} s", "under 30 s" if held else "FAILED")
    if not held:
        print(done.stderr, file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--directory", type=Path, help="on the disk to be measured")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as temporary:
        folder = Path(temporary)
        asyncio.run(durable(folder))
        writer, signer = filled(folder / "log", options.entries)
        proofs(writer)
        key = str(signer.public)
        verified(f"{options.entries:,} entries in a directory", folder / "log", key)
        file = exported(folder, writer, signer)
        verified(f"{options.entries:,} entries in an export", file, key)
        verified("as above, and searched for secrets", file, key, "--secrets")
    return 0


if __name__ == "__main__":
    sys.exit(main())
