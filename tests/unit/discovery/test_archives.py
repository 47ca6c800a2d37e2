"""Archives of every kind are looked into; damaged and hostile ones end in a note."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from keylease.discovery import archives
from keylease.discovery.problems import Problems
from keylease.discovery.reading import Reader

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

TEXT = b"KEY = something\n"


def zipped(members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file.getvalue()


def tarred(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def read(tmp_path: Path, content: bytes) -> tuple[dict[str, bytes], list[str]]:
    path = tmp_path / "outer"
    path.write_bytes(content)
    problems = Problems()
    found: dict[str, bytes] = {}
    for piece in Reader(problems).pieces(str(path)):
        name = piece.path.removeprefix(str(path))
        found[name] = found.get(name, b"") + piece.data
    return found, [problem.code for problem in problems]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        (zipped({"a/b.txt": TEXT}), "!/a/b.txt"),
        (zipped({"a/b.txt": TEXT}, zipfile.ZIP_STORED), "!/a/b.txt"),
        (tarred({"a/b.txt": TEXT}), "!/a/b.txt"),
        (gzip.compress(TEXT, mtime=0), ""),
        (bz2.compress(TEXT), ""),
        (lzma.compress(TEXT), ""),
        (zstd.compress(TEXT), ""),
        (zstd.compress(TEXT[:5]) + zstd.compress(TEXT[5:]), ""),
        (zstd.compress(tarred({"b.txt": TEXT})), "!/b.txt"),
        (tarred({"in.zst": zstd.compress(TEXT)}), "!/in.zst"),
        (gzip.compress(b"", mtime=0) + gzip.compress(TEXT, mtime=0) + b"\0" * 512, ""),
        (gzip.compress(tarred({"x": b"\0\1\2", "b.txt": TEXT}), mtime=0), "!/b.txt"),
        (bz2.compress(tarred({"b.txt": TEXT})), "!/b.txt"),
        (
            zipped({"in.tar.gz": gzip.compress(tarred({"b.txt": TEXT}), mtime=0)}),
            "!/in.tar.gz!/b.txt",
        ),
        (tarred({"in.jar": zipped({"b.txt": TEXT})}), "!/in.jar!/b.txt"),
        (zipped({"b.txt": TEXT.decode().encode("utf-16")}), "!/b.txt"),
    ],
)
def test_what_is_inside_is_read(tmp_path: Path, content: bytes, where: str) -> None:
    found, problems = read(tmp_path, content)
    assert problems == []
    assert found == {where: TEXT}


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "compress",
    [gzip.compress, bz2.compress, lzma.compress, zstd.compress],
    ids=["gzip", "bzip2", "xz", "zstd"],
)
def test_a_bomb_is_ended_at_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compress: Callable[[bytes], bytes]
) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "EXPANSION", 10)
    found, problems = read(tmp_path, compress(b"a\n" * 3_000_000))
    assert problems == ["archive_bound"]
    assert sum(map(len, found.values())) < 5_000_000


def test_a_zip_of_zips_is_ended_by_depth_and_by_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nested = zipped({"x.txt": TEXT})
    for _ in range(6):
        nested = zipped({"n.zip": nested})
    assert read(tmp_path, nested) == ({}, ["archive_bound"])
    monkeypatch.setattr(archives, "FREE_BYTES", 1_000_000)
    monkeypatch.setattr(archives, "EXPANSION", 1)
    bomb = zipped({f"{n}.txt": b"a" * 500_000 for n in range(50)})
    assert "archive_bound" in read(tmp_path, bomb)[1]


def test_zstd_that_wants_much_memory_or_is_cut_short_is_said_to_be_damaged(tmp_path: Path) -> None:
    log = zstd.CompressionParameter.window_log
    streamed = zstd.ZstdCompressor(options={log: 28})
    huge = streamed.compress(TEXT * 10) + streamed.flush()
    assert read(tmp_path, huge) == ({}, ["archive_corrupt"])
    assert read(tmp_path, zstd.compress(TEXT * 9)[:-3]) == ({}, ["archive_corrupt"])


def test_many_members_are_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAXIMUM_MEMBERS", 20)
    found, problems = read(tmp_path, tarred({f"{n}.txt": TEXT for n in range(50)}))
    assert len(found) == 20
    assert problems == ["archive_bound"]


def test_a_zip_with_an_enormous_directory_is_refused_before_it_is_read(tmp_path: Path) -> None:
    end = b"PK\x05\x06" + struct.pack("<HHHHLLH", 0, 0, 1, 1, 2**31, 0, 0)
    assert read(tmp_path, b"PK\x03\x04" + b"\0" * 100 + end) == ({}, ["archive_bound"])


def test_a_tar_header_that_claims_gigabytes_is_refused(tmp_path: Path) -> None:
    info = tarfile.TarInfo("pax")
    info.type = tarfile.XHDTYPE
    info.size = 4 * 1024**3
    content = info.tobuf() + b"a" * 10_000
    assert read(tmp_path, content) == ({}, ["archive_bound"])


def test_damage_ends_in_a_note_and_what_came_before_is_kept(tmp_path: Path) -> None:
    whole = gzip.compress(TEXT * 200_000)
    found, problems = read(tmp_path, whole[: len(whole) // 2])
    assert problems == ["archive_corrupt"]
    assert found == {}  # less than a window was read before it broke

    members = {f"{n}.txt": TEXT * 100 for n in range(3)}
    content = bytearray(zipped(members, zipfile.ZIP_STORED))
    at = content.index(TEXT, content.index(b"1.txt"))
    content[at] ^= 0xFF
    found, problems = read(tmp_path, bytes(content))
    assert problems == ["archive_corrupt"]
    assert {"!/0.txt", "!/2.txt"} <= set(found)


def test_encrypted_and_foreign_members_are_noted(tmp_path: Path) -> None:
    content = bytearray(zipped({"a.txt": TEXT}, zipfile.ZIP_STORED))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    assert read(tmp_path, bytes(content)) == ({}, ["archive_encrypted"])
    assert read(tmp_path, zipped({"a.txt": TEXT}, zipfile.ZIP_LZMA))[1] == ["archive_unsupported"]
    assert read(tmp_path, b"7z\xbc\xaf\x27\x1c\x00\x04")[1] == ["archive_unsupported"]


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08", b"BZh91AY&SY", b"\xfd7zXZ\0"])
def test_what_only_begins_like_an_archive_is_noted(tmp_path: Path, start: bytes) -> None:
    found, problems = read(tmp_path, start + bytes(range(256)) * 10)
    assert found == {}
    assert problems == ["archive_corrupt"]
