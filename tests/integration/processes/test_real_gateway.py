"""A real gateway as it is started: hardened, confined, refused twice, stopped cleanly."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import httpx
import pytest
from tests.support.running_gateway import GatewayDidNotStart, running_gateway

from keylease.errors import DataDirectoryLocked


def test_it_becomes_ready_and_stops_cleanly(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200
        assert gateway.stop(signal.SIGTERM) == 0
        assert "gateway_ready" in gateway.stderr()


def test_every_process_is_hardened(tmp_path: Path) -> None:
    with running_gateway(tmp_path, workers=2) as gateway:
        pids = [gateway.pid, *gateway.workers]
        assert len(pids) == 3
        for pid in pids:
            status = Path(f"/proc/{pid}/status").read_text()
            assert re.search(r"^NoNewPrivs:\s+1$", status, flags=re.MULTILINE)
            limits = Path(f"/proc/{pid}/limits").read_text()
            assert re.search(r"Max core file size\s+0\s+0\s", limits)
            assert Path(f"/proc/{pid}/mem").stat().st_uid == 0


def test_a_second_start_on_the_same_data_is_refused(tmp_path: Path) -> None:
    with running_gateway(tmp_path) as gateway:
        with pytest.raises(GatewayDidNotStart) as refused, running_gateway(tmp_path):
            pass
        assert refused.value.status == DataDirectoryLocked.exit_status
        assert f"in use by process {gateway.pid}" in refused.value.stderr
        assert httpx.get(f"{gateway.url}/healthz").status_code == 200


def test_a_broken_gateway_file_stops_the_start_with_64(tmp_path: Path) -> None:
    with (
        pytest.raises(GatewayDidNotStart) as refused,
        running_gateway(tmp_path, gateway_toml='version = 1\n[gateway]\nlisten = "nonsense"\n'),
    ):
        pass
    assert refused.value.status == 64
    assert "gateway.toml" in refused.value.stderr
    assert not (tmp_path / "data").exists()
