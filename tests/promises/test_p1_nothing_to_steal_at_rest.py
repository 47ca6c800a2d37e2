"""P1: nothing to steal at rest. No provider key that the gateway resolves, no lease that it would
accept, no signing key and no subject token in any file, page, payload, command line, environment,
or in the memory of a process outside the strongroom; and keys sent by mistake are masked.

One workload (``tests.support.workload``) goes through all that the product does, with kills. What
the searches can find is shown by positive controls in every medium.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.aws import Aws, aws
from tests.support.canaries import (
    JWT,
    Finding,
    forms,
    search_bytes,
    search_files,
    search_memory,
    search_process,
    tokens_in_memory,
)
from tests.support.collector import Collector, running_collector
from tests.support.hostile_upstream import hostile_upstream
from tests.support.issuer_thread import issuer_thread
from tests.support.openbao import Bao, bao
from tests.support.simulated_provider import running_simulator
from tests.support.supervised import supervised, wait_until
from tests.support.workload import STORES, Workload

from keylease.primitives.clock import SystemClock
from keylease.primitives.segments import SegmentLog
from keylease.primitives.signatures import decode_base64url
from keylease.strongroom.stores.sealed import FILE_NAME, SealedStore
from keylease.strongroom.stores.sealing_key import KeyFile

__all__ = ["aws", "bao"]

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="looks into memory, which takes root")
AS_ROOT = os.geteuid() == 0


class Evidence:
    """Everything there is to search after the workload."""

    def __init__(self, workload: Workload, collector: Collector) -> None:
        self.workload = workload
        self.home = workload.home
        self.payloads = collector.directory
        self.while_running = self.home.directory.parent / "while-running"
        self.processes: dict[str, list[Finding]] = {}
        """Findings in command line, environment and memory, by process."""
        self.in_strongroom: dict[str, list[Finding]] = {}
        self.tokens: dict[str, set[bytes]] = {}
        self.signing_keys: list[bytes] = []

    @property
    def core(self) -> bytes:
        return self.workload.family.core

    def look_at(self, name: str, pid: int) -> None:
        self.processes[name] = search_process(pid, [self.core], memory=AS_ROOT)
        if AS_ROOT:
            self.tokens[name] = tokens_in_memory(pid)

    def look_into_strongroom(self, name: str, pid: int) -> None:
        self.processes[name] = search_process(pid, [self.core], memory=False)
        if AS_ROOT:
            self.in_strongroom[name] = search_memory(pid, [self.core])

    @property
    def places(self) -> tuple[Path, ...]:
        """The user's own stores are outside of these: the file:// source lies beside them,
        OpenBao and moto keep theirs in memory, and the simulator is the provider."""
        return (self.home.directory, self.while_running, self.payloads)

    def signatures(self) -> list[bytes]:
        """What makes a token good: without it the rest opens nothing."""
        tokens = [*self.workload.leases, *self.workload.subject_tokens]
        return [token.rpartition(".")[2].encode()[:40] for token in tokens]


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, bao: Bao, aws: Aws) -> Iterator[Evidence]:
    directory = tmp_path_factory.mktemp("p1")
    workload = Workload(directory / "home")
    with (
        running_simulator() as simulator,
        hostile_upstream() as hostile,
        issuer_thread() as issuer,
        running_collector(directory / "collector") as collector,
    ):
        found = Evidence(workload, collector)
        for store in STORES:
            simulator.accept_key(workload.key(store))
        workload.fill_stores(bao, aws)
        workload.write_files(
            simulator=simulator, hostile=hostile, bao=bao, aws=aws, collector=collector,
            issuer=issuer,
        )  # fmt: skip
        with supervised(workload.home, workload.variables()) as up:
            workload.plain_and_streamed(up)
            workload.failures(up)
            workload.hostile_answers(up, hostile)
            workload.rotations(up, simulator, bao)
            workload.exchanges(up, issuer)
            workload.crashes(up, simulator)
            workload.mistakes(up)
            workload.collect_pages(up)
            with workload.running_client() as (agent, client):
                found.look_at("agent of keylease run", agent)
                found.look_at("program under keylease run", client)
            with workload.half_put(workload.family.key()) as putting:
                wait_until(lambda: children_of(putting.pid))
                found.look_at("keylease secret put", putting.pid)
            workload.plain_and_streamed(up)
            found.look_at("supervisor", up.process.pid)
            found.look_at("collector", collector.pid)
            found.look_into_strongroom("coordinator", up.coordinator)
            for number, pid in enumerate(up.workers):
                found.look_into_strongroom(f"worker {number}", pid)
            wait_until(lambda: exported(collector))
            shutil.copytree(
                workload.home.directory,
                found.while_running,
                ignore=shutil.ignore_patterns("*.sock"),
            )
            workload.home.control("lease.revoke", kind="all")
            assert up.stop() == 0
        found.signing_keys = signing_keys(workload)
        yield found


def children_of(pid: int) -> str:
    return Path(f"/proc/{pid}/task/{pid}/children").read_text()


def exported(collector: Collector) -> bool:
    return any(b"gen_ai" in payload for payload in collector.received())


def signing_keys(workload: Workload) -> list[bytes]:
    home = workload.home
    store = SealedStore(
        home.data / "strongroom" / FILE_NAME,
        key_source=KeyFile(home.config / "sealing.key", data_directory=home.data),
        clock=SystemClock(),
    )
    fetched = store.get("keylease-lease-signing-key")
    stored = fetched.secret.reveal(why="a test searches for it")
    return [decode_base64url(key["d"].encode()) for key in json.loads(stored)["keys"]]


def test_no_file_holds_a_provider_key(evidence: Evidence) -> None:
    assert search_files(*evidence.places, secrets=[evidence.core]) == []


def test_no_file_holds_the_stores_own_credentials(evidence: Evidence) -> None:
    """The Vault token, and what AWS is asked with: they open the stores."""
    assert search_files(*evidence.places, secrets=[evidence.workload.vault_token]) == []
    assert evidence.core in evidence.workload.aws_secret  # found by the core


def test_no_page_and_no_answer_shows_a_key(evidence: Evidence) -> None:
    """Metrics, readiness, control socket and commands; what clients were answered."""
    assert len(evidence.workload.pages) >= 15
    assert b"keylease_calls_total" in evidence.workload.pages["metrics"]
    assert b"via-file" in evidence.workload.pages["calls.list"]
    for name, page in evidence.workload.pages.items():
        assert list(search_bytes(name, page, [evidence.core])) == []
    sent_back = [evidence.workload.by_mistake, evidence.workload.another_mistake]
    for answer in evidence.workload.answers:
        text = answer.content + str(answer.headers).encode()
        for mistake in sent_back:
            # A refusal may repeat to its sender what the sender wrote.
            text = text.replace(mistake, b"")
        found = list(search_bytes(str(answer.request.url), text, [evidence.core]))
        assert found == [] or "hostile" in answer.request.content.decode(), found


def test_the_export_holds_calls_and_no_key(evidence: Evidence) -> None:
    payloads = [path.read_bytes() for path in evidence.payloads.glob("*.request")]
    assert any(b"[secret:openai]" in payload for payload in payloads), "masked text is exported"
    assert any(b"[secret:keylease]" in payload for payload in payloads)
    assert any(b"[secret:credential]" in payload for payload in payloads)
    for payload in payloads:
        assert list(search_bytes("OTLP", payload, [evidence.core])) == []
        assert JWT.search(payload) is None


def test_no_file_holds_a_lease_or_a_subject_token(evidence: Evidence) -> None:
    assert len(evidence.workload.leases) > 10
    assert len(evidence.workload.subject_tokens) > 10
    assert search_files(*evidence.places, secrets=evidence.signatures()) == []


def test_nothing_of_the_form_of_a_token_lies_anywhere(evidence: Evidence) -> None:
    """Also the leases that `keylease run` fetched by itself, which no test knows."""
    for root in evidence.places:
        for path in root.rglob("*"):
            if path.is_file():
                assert JWT.search(path.read_bytes()) is None, path
    for name, page in evidence.workload.pages.items():
        assert JWT.search(page) is None, name


def test_the_signing_key_is_sealed(evidence: Evidence) -> None:
    assert evidence.signing_keys
    assert search_files(*evidence.places, secrets=evidence.signing_keys) == []


def test_command_lines_environments_and_memory_outside_hold_no_key(evidence: Evidence) -> None:
    assert {
        "supervisor", "collector", "agent of keylease run", "program under keylease run",
        "keylease secret put", "coordinator", "worker 0", "worker 1",
    } == set(evidence.processes)  # fmt: skip
    assert {name: found for name, found in evidence.processes.items() if found} == {}


@as_root
def test_only_the_agent_outside_holds_a_lease(evidence: Evidence) -> None:
    """The program gets a bearer that is good for its own agent alone."""
    assert evidence.tokens["agent of keylease run"], "the search finds what is there"
    assert evidence.tokens["program under keylease run"] == set()
    assert evidence.tokens["supervisor"] == set()
    assert evidence.tokens["collector"] == set()


# --- positive controls -------------------------------------------------------------------------


@as_root
def test_the_same_search_finds_the_keys_in_the_strongroom(evidence: Evidence) -> None:
    assert forms_of(evidence.in_strongroom["coordinator"]) >= {"plain"}
    assert any("plain" in forms_of(evidence.in_strongroom[f"worker {n}"]) for n in (0, 1))


def forms_of(found: list[Finding]) -> set[str]:
    return {finding.form for finding in found}


@as_root
@pytest.mark.parametrize("form", ["plain", "base64", "hex", "url", "json"])
def test_a_key_planted_in_memory_is_found(evidence: Evidence, form: str) -> None:
    core = evidence.core
    planted = {
        "base64": base64.b64encode(b"ab" + core + b"cd"),
        "hex": core.hex().encode(),
        "url": forms(core)["url"],
        "json": forms(core)["json"],
    }.get(form, core)
    code = "import sys; held = sys.stdin.buffer.readline(); print(1, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(planted + b"\n")
        process.stdin.flush()
        process.stdout.readline()
        found = forms_of(search_memory(process.pid, [core]))
        process.stdin.write(b"\n")
        process.stdin.flush()
    assert any(name.startswith(form) for name in found), found


def test_a_key_planted_in_any_file_is_found(evidence: Evidence, tmp_path: Path) -> None:
    """Into a copy of every file that the product wrote, in turn in each form."""
    copy = tmp_path / "copy"
    shutil.copytree(evidence.home.data, copy, ignore=shutil.ignore_patterns("*.sock"))
    files = [path for path in sorted(copy.rglob("*")) if path.is_file()]
    names = {path.relative_to(copy).parts[1] for path in files if "strongroom" in path.parts}
    assert {"calls", "audit", "ledger", "objects", "sealed.json", "revocations"} <= names
    every = list(forms(evidence.core).values())
    for number, path in enumerate(files):
        with path.open("ab") as file:
            file.write(every[number % len(every)])
        assert len(search_files(path, secrets=[evidence.core])) >= 1, path
    found = {finding.place for finding in search_files(copy, secrets=[evidence.core])}
    assert found == {str(path) for path in files}


def test_a_key_planted_in_a_medium_is_found(evidence: Evidence, tmp_path: Path) -> None:
    """As the product itself would write it: a record of a segment, JSON, gzip inside of both."""
    core = evidence.core
    log = SegmentLog(tmp_path / "segments", maximum_bytes=1024 * 1024)
    log.append([b"first", b"x" + core + b"y", b"z" + gzip.compress(b"in front " + core)])
    log.close()
    (tmp_path / "page.json").write_text(json.dumps({"a": [{"key": core.decode()}]}))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(base64.b64encode(b"a" + core)))
    (tmp_path / core.decode()).write_text("a name")
    (tmp_path / "log").write_bytes(b"GET /?key=" + forms(core)["url"])
    found = search_files(tmp_path, secrets=[core])
    places = {Path(finding.place.split(" (")[0].removeprefix("name of ")).name for finding in found}
    segments = {path.name for path in (tmp_path / "segments").iterdir()}
    assert places == segments | {"page.json", "packed.gz", core.decode(), "log"}
    assert {finding.form for finding in found if "decompressed" in finding.place}


def test_what_is_left_out_is_the_users_own_store_and_nothing_else(evidence: Evidence) -> None:
    """The file:// source holds the key: it is where the user keeps it. It lies outside."""
    source = evidence.workload.source
    assert [f.form for f in search_files(source, secrets=[evidence.core])] == ["plain"]
    assert not any(source.is_relative_to(place) for place in evidence.places)


def test_the_workload_went_everywhere(evidence: Evidence) -> None:
    """What was searched is what P1 speaks of: each kind of thing did happen."""
    calls = json.loads(evidence.workload.pages["calls.list"])
    errors = {call.get("error", "") for call in calls}
    assert {
        "", "credential_echoed", "upstream_denied", "upstream_broken",
        "upstream_refused_credential",
    } <= errors  # fmt: skip
    assert {call["retries"] for call in calls if call.get("retries")}, "a key was fetched again"
    assert any("[secret:openai]" in (call.get("input") or "") for call in calls)
    actions = {entry["action"] for entry in json.loads(evidence.workload.pages["audit.list"])}
    assert {"lease.issued", "lease.refused", "credential.fetched"} <= actions
    said = evidence.home.said("up")
    assert "signal SIGKILL" in said
    assert "The gateway is back." in said
    assert "APIError" in evidence.home.said("run") or "InternalServerError" in evidence.home.said(
        "run"
    )
