"""P3: what is revoked opens nothing, on any worker, within one second and after any death.

On a real gateway with two workers, over connections that stay open on both of them.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
from pathlib import Path

import pytest
from tests.support.issuer_thread import IssuerThread
from tests.support.kept_connections import (
    KeptConnection,
    Said,
    kept_connections,
)
from tests.support.leased_gateway import (
    ALL_GOOD,
    MODEL,
    REVOKED,
    connections,
    environment,
    gateway,
    gateway_toml,
    issuer,
    policy_toml,
    port_of,
    simulator,
)
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import RunningSimulator

__all__ = ["connections", "gateway", "issuer", "simulator"]


class Callers:
    """Many connections that call on and on, and when each of them succeeded last."""

    def __init__(self, connections: list[KeptConnection], lease: str, model: str) -> None:
        self.last_good = [0.0] * len(connections)
        self.last: list[Said | None] = [None] * len(connections)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._call, args=(index, connection, lease, model))
            for index, connection in enumerate(connections)
        ]
        for thread in self._threads:
            thread.start()

    def _call(self, index: int, connection: KeptConnection, lease: str, model: str) -> None:
        turn = index
        while not self._stop.is_set():
            asked = time.monotonic()
            said = connection.models(lease) if turn % 2 else connection.chat(lease, model)
            turn += 1
            self.last[index] = said
            if said == ALL_GOOD:
                # A call that was let in before is none that the revocation let through.
                self.last_good[index] = asked
            time.sleep(0.005)

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=20)


@pytest.mark.parametrize("kind", ["lease", "principal", "credential", "all"])
def test_a_revocation_is_in_force_on_both_workers_within_a_second(
    gateway: RunningGateway, connections: list[KeptConnection], kind: str
) -> None:
    principal = f"user:thief-{secrets.token_hex(4)}"
    stolen = gateway.control(
        "lease.create", purpose="development", environment="local", principal=principal
    )
    value = {
        "lease": stolen["lease_id"],
        "principal": principal,
        "credential": "second",
        "all": "",
    }[kind]
    model = "gpt-second" if kind == "credential" else MODEL
    callers = Callers(connections, stolen["token"], model)
    try:
        time.sleep(0.3)
        asked = time.monotonic()
        said = gateway.control("lease.revoke", kind=kind, value=value)
        confirmed = time.monotonic()
        time.sleep(0.5)
    finally:
        callers.stop()
    assert said["workers"] == 2
    assert confirmed - asked < 1.0
    if kind == "credential":
        answers = {connection.chat(stolen["token"], model) for connection in connections}
        assert answers == {REVOKED}
        assert connections[0].chat(stolen["token"], MODEL) == ALL_GOOD, "others are not touched"
        gateway.control("lease.lift", credential="second")
        assert connections[0].chat(stolen["token"], model) == ALL_GOOD
        return
    late = [when - asked for when in callers.last_good]
    assert min(callers.last_good) > 0, "every connection was in use"
    assert max(late) < 1.0, late
    assert max(callers.last_good) <= confirmed, "nothing passes once it is confirmed"
    assert set(callers.last) == {REVOKED}
    with kept_connections(port_of(gateway), 12) as fresh:
        assert {connection.models(stolen["token"]) for connection in fresh} == {REVOKED}
    later = gateway.lease(principal=principal)
    assert connections[0].models(later) == ALL_GOOD, "what is issued afterwards is good"


def test_revocations_survive_kill_and_restart(
    simulator: RunningSimulator, issuer: IssuerThread, tmp_path: Path
) -> None:
    given = environment(simulator)
    with running_gateway(
        tmp_path,
        gateway_toml=gateway_toml(simulator, issuer.url),
        policy_toml=policy_toml(simulator, issuer.url),
        environment=given,
    ) as gateway:
        good = gateway.lease()
        revoked = {}
        for kind in ("lease", "principal"):
            made = gateway.control(
                "lease.create",
                purpose="development",
                environment="local",
                principal=f"user:{kind}",
            )
            revoked[kind] = made["token"]
            value = made["lease_id"] if kind == "lease" else "user:principal"
            gateway.control("lease.revoke", kind=kind, value=value)
        gateway.control("lease.revoke", kind="credential", value="second")
        gateway.process.kill()
        gateway.process.wait(timeout=20)
    with (
        running_gateway(tmp_path, environment=given) as gateway,
        kept_connections(port_of(gateway), 6) as connections,
    ):
        for connection in connections:
            assert connection.models(good) == ALL_GOOD, "the signing key is the same one"
            assert {connection.models(lease) for lease in revoked.values()} == {REVOKED}
            assert connection.chat(good, "gpt-second") == REVOKED


def test_a_new_worker_knows_what_was_revoked(gateway: RunningGateway) -> None:
    made = gateway.control("lease.create", purpose="development", environment="local")
    gateway.control("lease.revoke", kind="lease", value=made["lease_id"])
    before = gateway.workers
    os.kill(before[0], 9)
    deadline = time.monotonic() + 20
    while before[0] in gateway.workers or len(gateway.workers) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with kept_connections(port_of(gateway), 12) as connections:
        assert {connection.models(made["token"]) for connection in connections} == {REVOKED}
