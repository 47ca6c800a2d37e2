"""Pushed scans of three checkouts and a vendor's listing meet in one inventory: real processes."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # ships no types
import pytest
from tests.support.home_databases import database_of
from tests.support.planting import Repo, characters, groq_key, openai_key, plant
from tests.support.platform_kit import services_for
from tests.support.platform_process import RunningPlatform, running_platform
from tests.support.stand_in_server import listening

from keylease.cli.inventory_schemas import inventory_schemas
from keylease.cli.main import main
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.migrate import migrate
from keylease.platform.identity.api_keys.interfaces import NewApiKey
from keylease.primitives.clock import SystemClock
from keylease.simulator.systems.system import Entry, System
from keylease.simulator.systems.vendors import braintrust

PREVIEW = ("incident", "preview", "--vendor", "braintrust")
WORKFLOW = """\
name: evals
on: push
jobs:
  nightly:
    runs-on: ubuntu-latest
    steps:
      - run: python -m app.llm
        env:
          OPENAI_API_KEY: ${{ secrets.OPENAI_API_KEY }}
"""
DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  namespace: assistants
spec:
  template:
    spec:
      containers:
        - name: api
          env:
            - name: OPENAI_API_KEY
              valueFrom:
                secretKeyRef:
                  name: llm
                  key: openai
"""
PROGRAM = 'import os\n\nclient = OpenAI(api_key=os.environ["OPENAI_API_KEY"])\n'
READER = ("inventory:read", "inventory:manage", "inventory:write", "trust:read")


class Console:
    """The command line of somebody who has two API keys: one that only pushes, one that reads."""

    def __init__(
        self,
        home: Path,
        platform: RunningPlatform,
        keys: dict[str, Path],
        captured: pytest.CaptureFixture[str],
    ) -> None:
        self._captured = captured
        self.home = home
        self.platform = platform
        self.keys = keys
        self.environment = {"PATH": os.environ["PATH"], "HOME": str(home)}

    def run(
        self, *arguments: str, cwd: Path | None = None, key: str = "reader", status: int = 0
    ) -> str:
        whole = [*arguments, "--server", self.platform.url]
        if arguments[0] != "status":
            whole += ["--api-key-file", str(self.keys[key])]
        if cwd is None and "sync" not in arguments:
            # In this process: what only reads and tells need not start an interpreter each time.
            got = main(whole)
            told = self._captured.readouterr()
            assert got == status, told.out + told.err
            return told.out if "--json" in arguments else told.out + told.err
        done = subprocess.run(
            [sys.executable, "-m", "keylease", *whole],
            cwd=cwd or self.home,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done.stdout + done.stderr


async def make_keys(data: Path, home: Path) -> dict[str, Path]:
    """API keys of the owner, before anybody could sign in."""
    clock = SystemClock()
    database = Database(database_of(data), clock=clock)
    files = {}
    try:
        await migrate(database)
        async with services_for(database, clock, data) as services:
            async with database.transaction() as tx:
                user = await services.directory.owner_to_set_up(tx)
            owner = Caller(
                principal=Principal(PrincipalKind.USER, user.id),
                organization_id=user.organization_id,
            )
            for name, permissions in {"pusher": ("inventory:write",), "reader": READER}.items():
                wanted = NewApiKey(name=name, permissions=permissions)
                shown = await services.identity.api_keys.create(owner, wanted)
                files[name] = home / name
                files[name].write_text(shown.text)
                files[name].chmod(0o600)
    finally:
        await database.close()
    return files


@pytest.fixture
def console(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Console]:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "platform").mkdir(mode=0o700)
    keys = asyncio.run(make_keys(tmp_path / "platform", home))
    with running_platform(tmp_path / "platform") as platform:
        yield Console(home, platform, keys, capsys)


@contextmanager
def vendor(system: System) -> Iterator[str]:
    """A stand-in that answers in a thread of its own; gives its origin."""
    started = threading.Event()
    told: list[str] = []
    stop: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    async def serve() -> None:
        ended = asyncio.Event()
        async with listening(system) as url:
            told.append(url)
            stop.append((asyncio.get_running_loop(), ended))
            started.set()
            await ended.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert started.wait(30)
    try:
        yield told[0]
    finally:
        loop, ended = stop[0]
        loop.call_soon_threadsafe(ended.set)
        thread.join(30)


def test_three_checkouts_and_a_vendor_meet_in_one_inventory(
    console: Console, tmp_path: Path
) -> None:
    run = console.run
    shared, lonely = openai_key(), groq_key()
    organization_key = console.home / "fingerprint.key"
    subprocess.run(
        [sys.executable, "-m", "keylease", "fingerprint-key", "create", str(organization_key)],
        env=console.environment,
        check=True,
        capture_output=True,
    )
    planted = {
        "api": {
            "deploy/.env": f"OPENAI_API_KEY={shared}\n",
            "deploy/api.yaml": DEPLOYMENT,
            ".github/workflows/evals.yml": WORKFLOW,
            "app/llm.py": PROGRAM,
        },
        "evals": {"run.sh": f"export OPENAI_API_KEY={shared}\npython run.py\n"},
        "notes": {
            "notebook.py": f'client = OpenAI(api_key="{shared}")\n',
            "other.env": f"GROQ_API_KEY={lonely}\n",
        },
    }
    push = ("scan", "--push", "--fingerprint-key", str(organization_key), ".")
    for name, files in planted.items():
        checkout = Repo(tmp_path / name)
        checkout.git("remote", "add", "origin", f"https://forge.example/acme/{name}.git")
        plant(checkout.folder, files)
        said = run(*push, cwd=tmp_path / name, key="pusher")
        assert "new location" in said
        assert shared not in said
    assert "0 new" in run(*push, cwd=tmp_path / "api", key="pusher").replace("no new", "0 new")
    run("inventory", "list", key="pusher", status=1)  # a scanner's key reads nothing

    found = json.loads(run("inventory", "list", "--json"))
    by_provider = {one["provider"]: one for one in found}
    assert set(by_provider) == {"openai", "groq"}
    sources = {place["source"].partition(":")[2] for place in by_provider["openai"]["places"]}
    assert sources == {str(tmp_path / name) for name in planted}

    named_by_what_uses_it(console, by_provider["openai"])

    listed_at_vendor(console, shared)
    preview = run("incident", "preview", "--vendor", "braintrust")
    for path in ("deploy/.env", "run.sh", "notebook.py"):
        assert path in preview, preview
    assert "other.env" not in preview
    assert "Not known:" in preview
    assert "minutes to rotate" in preview
    answer = json.loads(run("incident", "preview", "--vendor", "braintrust", "--format", "json"))
    (affected,) = answer["affected"]
    assert len(affected["elsewhere"]) == 3
    assert affected["there"][0]["location"]["name"] == "OPENAI_API_KEY"
    assert "OPENAI_API_KEY" in affected["evidence"] or "ends with" in affected["evidence"]
    owned_and_accepted(console, by_provider["openai"]["id"])
    removed(console, tmp_path, push)
    everything_else(console)
    written_as_described(console)
    for text in (shared, lonely):
        for file in console.platform.data.rglob("*"):
            assert not file.is_file() or text.encode() not in file.read_bytes()


def named_by_what_uses_it(console: Console, secret: dict[str, Any]) -> None:
    """Workflow, deployment and code name the variable, and no value: each is a consumer."""
    assert {(one["kind"], one["name"], one["known_by"]) for one in secret["consumers"]} == {
        ("ci_workflow", ".github/workflows/evals.yml, job nightly", "named"),
        ("deployment", "deploy/api.yaml, Deployment assistants/api", "named"),
        ("code", "app/llm.py", "named"),
    }
    assert {one["repository"] for one in secret["consumers"]} == {"forge.example/acme/api"}
    assert not any(one["ambiguous"] for one in secret["consumers"])
    assert secret["last_used"] is None
    place = secret["places"][0]["id"]
    preview = console.run("incident", "preview", "--location", place)
    for named in (
        "named by    CI workflow .github/workflows/evals.yml, job nightly of forge.example",
        "named by    deployment deploy/api.yaml, Deployment assistants/api",
        "named by    code app/llm.py",
        "(GitHub Actions secret)",
    ):
        assert named in preview, preview
    assert "3 named" in console.run("inventory", "list")
    assert "app/llm.py" in console.run("inventory", "show", secret["id"])
    found = json.loads(console.run("inventory", "list", "--consumer", "job nightly", "--json"))
    assert [one["id"] for one in found] == [secret["id"]]
    assert json.loads(console.run("inventory", "list", "--consumer", "nobody", "--json")) == []
    of_workflow = console.run("incident", "preview", "--principal", secret["consumers"][0]["id"])
    assert "believed    it names OPENAI_API_KEY" in of_workflow
    assert "consumer_found" in console.run("inventory", "history", secret["id"])


def written_as_described(console: Console) -> None:
    """Each output keeps to its schema in docs/reference."""
    run, schemas = console.run, inventory_schemas()

    def holds(name: str, written: object) -> None:
        schema = {key: value for key, value in schemas[name].items() if key != "allOf"}
        jsonschema.Draft202012Validator(schema).validate(written)

    webhook = run("inventory", "webhook", "list", "--json")
    for name, written in (
        ("inventory-export", run("inventory", "export")),
        ("inventory-export", run("inventory", "list", "--json")),
        ("inventory-export-cyclonedx", run("inventory", "export", "--format", "cyclonedx")),
        ("inventory-graph", run("inventory", "graph")),
        ("inventory-history", run("inventory", "history", "--json")),
        ("inventory-mentions", run("inventory", "mentions", "--json")),
        ("inventory-webhooks", webhook),
        ("vendors", run("vendor", "list", "--json")),
        ("incident-preview", run(*PREVIEW, "--format", "json")),
    ):
        holds(f"{name}.schema.json", json.loads(written[: written.rindex(written.strip()[-1]) + 1]))
    for name, written in (
        ("inventory-export-csv", run("inventory", "export", "--format", "csv")),
        ("incident-preview-csv", run(*PREVIEW, "--format", "csv")),
    ):
        rows = list(csv.DictReader(io.StringIO(written)))
        assert rows
        for row in rows:
            holds(f"{name}.schema.json", row)


def listed_at_vendor(console: Console, shared: str) -> None:
    credential = characters(32)
    stand_in = System(
        braintrust,
        header="authorization",
        credential=f"Bearer {credential}",
        entries=(
            Entry(
                name="OPENAI_API_KEY",
                container="ai_secret",
                provider="openai",
                preview=f"sk-...{shared[-4:]}",
            ),
            Entry(name="MISTRAL_API_KEY", container="ai_secret", provider="mistral"),
        ),
    )
    console.environment["BRAINTRUST_TEST"] = credential
    configuration = console.home / "config"
    configuration.mkdir()
    with vendor(stand_in) as url:
        (configuration / "gateway.toml").write_text(
            f'version = 1\n[[connector]]\nname = "bt"\nsystem = "braintrust"\nreference = "env://BRAINTRUST_TEST"\n'
            f'url = "{url}"\nallow_private_address = true\n'
        )
        said = console.run("inventory", "sync", "--all", "--config-dir", str(configuration))
    assert "2 secrets listed" in said
    assert credential not in said
    vendors = json.loads(console.run("vendor", "list", "--json"))
    assert [one["name"] for one in vendors] == ["braintrust"]


def owned_and_accepted(console: Console, secret: str) -> None:
    console.run("inventory", "own", secret, "ada")
    mine = console.run("incident", "preview", "--vendor", "braintrust", "--owner", "ada")
    assert "1 secret of 1 owner" in mine
    states = json.loads(console.run("inventory", "show", secret, "--json"))["states"]
    state = states[0]
    said = ("--owner", "ada", "--reason", "until the move", "--until", "30d")
    console.run("inventory", "accept", secret, state, *said)
    shown = console.run("inventory", "show", secret)
    assert "until the move" in shown
    assert "owner_set" in console.run("inventory", "history", secret)
    (made,) = json.loads(console.run("inventory", "show", secret, "--json"))["exceptions"]
    assert made["id"] in shown
    console.run("inventory", "withdraw", secret, made["id"])
    assert state in json.loads(console.run("inventory", "show", secret, "--json"))["states"]
    console.run("inventory", "works", secret, "live", "--belongs-to", "acme")
    assert "acme" in console.run("inventory", "show", secret)


def removed(console: Console, tmp_path: Path, push: tuple[str, ...]) -> None:
    (tmp_path / "notes" / "other.env").unlink()
    said = console.run(*push, cwd=tmp_path / "notes", key="pusher")
    assert "1 removed" in said
    (gone,) = json.loads(console.run("inventory", "list", "--gone", "--json"))
    assert gone["provider"] == "groq"


def everything_else(console: Console) -> None:
    run = console.run
    assert "cyclonedx" in run("inventory", "export", "--format", "cyclonedx").lower()
    assert "graph inventory {" in run("inventory", "graph", "--format", "dot")
    assert "connector" in run("inventory", "sources")
    run("vendor", "set", "braintrust", "--given", "keys", "--given", "prompts", "--since", "90d")
    assert "prompts" in run("vendor", "show", "braintrust")
    run("vendor", "add", "helicone", "--given", "logs")
    assert "No connector reads helicone" in run("incident", "preview", "--vendor", "helicone")
    csv = run("incident", "preview", "--vendor", "braintrust", "--format", "csv")
    assert csv.count("elsewhere") == 3
    assert "isolated" in run("trust")
    assert json.loads(run("trust", "--json"))["promises"]
    run("vendor", "archive", "helicone")
    assert "helicone" not in run("vendor", "list")
    run("vendor", "set", "helicone", "--given", "prompts")
    assert "helicone" in run("vendor", "list")
    names = json.loads(run("inventory", "mentions", "--json"))
    assert {"OPENAI_API_KEY", "MISTRAL_API_KEY"} <= {one["location"]["name"] for one in names}
    assert "MISTRAL_API_KEY" in run("inventory", "mentions", "--provider", "mistral")
    webhook = run("inventory", "webhook", "add", "https://receiver.example.com/hook").split()[0]
    assert "enabled" in run("inventory", "webhook", "list")
    run("inventory", "webhook", "disable", webhook)
    assert "by a person" in run("inventory", "webhook", "list")
    run("inventory", "webhook", "set", webhook, "--event", "found_live")
    run("inventory", "webhook", "set", webhook, status=64)
    shown = json.loads(run("inventory", "webhook", "show", webhook, "--json"))
    assert (shown["events"], shown["enabled"]) == (["found_live"], False)
    run("inventory", "webhook", "enable", webhook)
    run("inventory", "webhook", "set", webhook, "--all-events")
    assert "whpk_" in run("inventory", "webhook", "show", webhook)
    run("inventory", "webhook", "deliveries", webhook)
    run("inventory", "webhook", "remove", webhook)
    run("scan", "--push", "--staged", status=64)
