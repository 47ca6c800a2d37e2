"""Runs the load generator against one address and keeps what it saw, round by round."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import peers
import processes

HERE = Path(__file__).parent


@dataclasses.dataclass
class Round:
    """One measurement."""

    seen: dict[str, Any]
    cpu: float
    """CPU seconds of the gateway's processes per thousand requests."""

    def value(self, path: str) -> float | None:
        """A number out of the result, ``latency.p50`` for example; ``None`` when it is missing."""
        found: Any = self.seen
        for name in path.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        return None if found is None else float(found)


Rounds = dict[str, list[Round]]
"""Subject -> its rounds, in order."""


def begin_load(target: peers.Running, **spec: object) -> subprocess.Popen[str]:
    """Start the load generator on a target."""
    whole = {
        "host": "127.0.0.1",
        "port": target.port,
        "path": target.path,
        "headers": target.headers,
        "sent_model": f"{target.model_prefix}{spec['model']}" if target.model_prefix else "",
    } | spec
    process = subprocess.Popen(
        [sys.executable, HERE / "load.py"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    if process.stdin is None:
        raise RuntimeError("no stdin")
    process.stdin.write(json.dumps(whole))
    process.stdin.close()
    process.stdin = None  # so that communicate() does not touch it again
    return process


def finish_load(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, _ = process.communicate(timeout=3600)
    if process.returncode:
        return {"requests": 0, "rate": 0.0, "errors": 1, "error_kinds": {"generator failed": 1}}
    return dict(json.loads(out))


def measure(target: peers.Running, **spec: object) -> Round:
    """One measurement of one target."""
    before = processes.cpu_seconds(target.process.pid) if target.process else 0.0
    seen = finish_load(begin_load(target, **spec))
    after = processes.cpu_seconds(target.process.pid) if target.process else 0.0
    return Round(seen, 1000 * (after - before) / max(1, seen["requests"]))


def interleave(targets: Sequence[peers.Running], rounds: int, **spec: object) -> Rounds:
    """ABAB: every round measures every target once, each time beginning with another one."""
    found: Rounds = {target.name: [] for target in targets}
    for number in range(rounds):
        shift = number % len(targets)
        for target in [*targets[shift:], *targets[:shift]]:
            found[target.name].append(measure(target, **spec))
    return found


def median(rounds: Sequence[Round], path: str) -> float | None:
    values = [value for one in rounds if (value := one.value(path)) is not None]
    return statistics.median(values) if values else None


def paired(
    rounds: Rounds,
    name: str,
    base: str,
    path: str,
    combine: Callable[[float, float], float],
) -> float | None:
    """The median over the rounds of ``combine(name's value, base's value in the same round)``."""
    values = []
    for one, other in zip(rounds.get(name, []), rounds.get(base, []), strict=False):
        left, right = one.value(path), other.value(path)
        if left is not None and right:
            values.append(combine(left, right))
    return statistics.median(values) if values else None


def errors(rounds: Sequence[Round]) -> int:
    return int(sum(one.value("errors") or 0 for one in rounds))


@contextlib.contextmanager
def running_upstream(key: str) -> Iterator[peers.Running]:
    """The fast upstream, also the target of the direct measurements."""
    port = processes.free_port()
    process = subprocess.Popen(
        [sys.executable, HERE / "upstream.py", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    if process.stdin is None or process.stdout is None:
        raise RuntimeError("no pipes")
    process.stdin.write(f"{key}\n")
    process.stdin.flush()
    try:
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the upstream did not start")
        yield peers.Running("direct", process, port, headers=peers.bearer(key))
    finally:
        processes.stop(process)
        process.stdin.close()
        process.stdout.close()
