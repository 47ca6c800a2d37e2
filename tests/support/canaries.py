"""Finding a canary key wherever it may have been written, in whatever form.

A canary is searched for plain and in base64 (all three alignments, both alphabets), hex, URL and
JSON escapes, reversed, and in UTF-16; gzip and zlib members are decoded first, and the product
compresses with nothing else. ``search_memory`` reads the writable memory of a process,
``search_process`` also what /proc shows of it.

Searching many canaries is dear, so give all canaries of a test the same random core (``family``)
and search for that: it has to be in every form that is searched for.
"""

from __future__ import annotations

import base64
import gzip
import mmap
import os
import re
import secrets as random_secrets
import zlib
from array import array
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

GZIP_MAGIC = b"\x1f\x8b\x08"
ZLIB_MAGIC = re.compile(rb"\x78[\x01\x5e\x9c\xda]")
PIECE = 16 * 1024 * 1024
PAGE = mmap.PAGESIZE


JWT = re.compile(rb"eyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{20,}")


class Finding(NamedTuple):
    place: str
    form: str


class Family:
    """Canaries that share a core, so that one search finds all of them."""

    def __init__(self) -> None:
        self.core = random_secrets.token_hex(12).encode()

    def key(self, prefix: str = "sk-test-") -> bytes:
        """A key that looks like one and is none."""
        return prefix.encode() + self.core + random_secrets.token_hex(8).encode()


def forms(secret: bytes) -> dict[str, bytes]:
    """Every form that is searched for, by name."""
    found = {
        "plain": secret,
        "hex": secret.hex().encode(),
        "hex upper case": secret.hex().upper().encode(),
        "url": b"".join(b"%%%02X" % byte for byte in secret),
        "json": b"".join(b"\\u%04x" % byte for byte in secret),
        "utf-16": b"".join(bytes((byte, 0)) for byte in secret),
        "reversed": secret[::-1],
    }
    for shift in range(3):
        # Characters that also depend on the neighbours are cut off at both ends.
        encoded = base64.b64encode(b"\0" * shift + secret)
        start = -(-shift * 8 // 6)
        stop = (shift + len(secret)) * 8 // 6
        found[f"base64 shifted by {shift}"] = encoded[start:stop]
        found[f"base64url shifted by {shift}"] = encoded[start:stop].translate(
            bytes.maketrans(b"+/", b"-_")
        )
    return found


def search_bytes(place: str, data: bytes, secrets: Iterable[bytes]) -> Iterator[Finding]:
    """Look through ``data`` and through what is compressed in it."""
    for secret in secrets:
        for form, pattern in forms(secret).items():
            if pattern in data:
                yield Finding(place, form)
    for member in decompressed(data):
        yield from search_bytes(f"{place} (decompressed)", member, secrets)


def decompressed(data: bytes) -> Iterator[bytes]:
    """What can be decompressed at any offset of ``data``, gzip and zlib."""
    start = -1
    while (start := data.find(GZIP_MAGIC, start + 1)) >= 0:
        try:
            yield zlib.decompressobj(wbits=31).decompress(data[start:], PIECE)
        except zlib.error:
            continue
    for match in ZLIB_MAGIC.finditer(data[:PIECE]):
        try:
            member = zlib.decompressobj().decompress(data[match.start() :], PIECE)
        except zlib.error:
            continue
        if len(member) > 8:
            yield member


def search_files(
    *roots: Path, secrets: Iterable[bytes], leave_out: Iterable[Path] = ()
) -> list[Finding]:
    """Look through the names and contents of all files below ``roots``."""
    secrets, skipped = list(secrets), {path.resolve() for path in leave_out}
    found: list[Finding] = []
    for root in roots:
        for path in sorted(root.rglob("*")) if root.is_dir() else [root]:
            if path.resolve() in skipped:
                continue
            found += search_bytes(f"name of {path}", str(path).encode(), secrets)
            if path.is_file():
                found += search_bytes(str(path), path.read_bytes(), secrets)
    return found


def search_process(pid: int, secrets: Iterable[bytes], *, memory: bool) -> list[Finding]:
    """Look through the command line, the environment and, when asked, the memory of a process."""
    secrets = list(secrets)
    found: list[Finding] = []
    for name in ("cmdline", "environ"):
        data = Path(f"/proc/{pid}/{name}").read_bytes()
        found += search_bytes(f"{name} of {pid}", data, secrets)
    return found + (search_memory(pid, secrets) if memory else [])


def tokens_in_memory(pid: int) -> set[bytes]:
    """Signed tokens (leases and others) in the writable memory of a process."""
    return {match[0] for data in memory_of(pid) for match in JWT.finditer(data)}


def search_memory(pid: int, secrets: Iterable[bytes]) -> list[Finding]:
    """Look through the readable, writable memory of a process; needs the right to trace it."""
    secrets = list(secrets)
    patterns = [(form, p) for secret in secrets for form, p in forms(secret).items()]
    found: set[Finding] = set()
    for data in memory_of(pid):
        found.update(Finding(f"memory of {pid}", form) for form, p in patterns if p in data)
    return sorted(found)


def memory_of(pid: int) -> Iterator[bytes]:
    """The readable, writable parts of the memory of a process that were ever written to."""
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            span, permissions, *_ = line.split()
            if not permissions.startswith("rw"):
                continue
            start, stop = (int(bound, 16) for bound in span.split("-"))
            whole = [(start, stop)]
            # Shared memory may have been written to by others, through pages of theirs.
            for first, last in touched(pid, start, stop) if permissions[3] == "p" else whole:
                data = read_span(memory.fileno(), first, last)
                if data.strip(b"\0"):
                    yield data


def touched(pid: int, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Where a private mapping has pages of its own; much is only set aside, a gigabyte at a time.

    An entry of /proc/PID/pagemap has bit 63 for a page in memory and bit 62 for one that is
    swapped out (proc_pid_pagemap(5)).
    """
    pages = array("Q")
    with Path(f"/proc/{pid}/pagemap").open("rb", buffering=0) as pagemap:
        size = pages.itemsize * (stop - start) // PAGE
        pages.frombytes(os.pread(pagemap.fileno(), size, pages.itemsize * start // PAGE))
    at = start
    for present, run in groupby(pages, key=lambda page: page >> 62 != 0):
        length = PAGE * sum(1 for _ in run)
        if present:
            yield at, at + length
        at += length


def read_span(descriptor: int, start: int, stop: int) -> bytes:
    pieces = []
    while start < stop:
        try:
            piece = os.pread(descriptor, min(PIECE, stop - start), start)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
        start += len(piece)
    return b"".join(pieces)


def plant(directory: Path, secret: bytes) -> list[Path]:
    """Positive control: write ``secret`` in every form, so that a search that is blind shows."""
    planted = []
    for form, data in forms(secret).items():
        path = directory / f"control-{form.replace(' ', '-')}"
        path.write_bytes(b"before" + data + b"after")
        planted.append(path)
    compressed = directory / "control.gz"
    compressed.write_bytes(b"front" + gzip.compress(b"x" * 100 + secret + b"y" * 100) + b"back")
    return [*planted, compressed]
