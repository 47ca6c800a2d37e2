"""Where `keylease traces export` writes, and what stays there when it fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from keylease.cli.main import main
from keylease.cli.traces_keeping import _appearing
from keylease.errors import StorageError, StorageFull


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "spans.parquet"
    file.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), _appearing(file) as target:
        target.write(b"half" * (1 // 0))
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"before"]
    with _appearing(file) as target:
        target.write(b"whole")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"whole"]


@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="needs the device /dev/full")
def test_a_device_is_written_into_and_never_replaced(tmp_path: Path) -> None:
    file = tmp_path / "device"
    file.symlink_to("/dev/full")
    with pytest.raises(StorageFull), _appearing(file) as target:
        target.write(b"some")
    assert file.is_symlink()
    assert list(tmp_path.iterdir()) == [file]


def test_a_folder_is_no_place_for_an_export(tmp_path: Path) -> None:
    with pytest.raises(StorageError), _appearing(tmp_path):
        pass


def test_a_statement_that_is_missing_is_said_before_anybody_is_asked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["sql", "  "]) == 64
    assert capsys.readouterr().err.startswith("error: There is no statement.")
