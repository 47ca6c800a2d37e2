"""Programs with three kinds of instrumentation and the gateway they call send at the same time."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.support import policy_kit
from tests.support.furnished import bearer, first_tenant
from tests.support.linked_gateway import LinkedPlace, wait_for
from tests.support.policy_kit import publish
from tests.support.ports import terminated
from tests.support.serving_platform import ServingPlatform, serving_platform
from tests.support.simulated_provider import running_simulator

from keylease.cli.main import main
from keylease.contracts.api_keys import ApiKeyKind
from keylease.contracts.purposes import Purpose
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.api_keys.interfaces import NewApiKey

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "traces-sending.md"
PROGRAMS = dict(re.findall(r"```python (\w+)\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))
CALLS = ("openinference", "traceloop")
"""Those that call a model, through the gateway."""


def put_policy(platform: ServingPlatform, place: LinkedPlace) -> None:
    async def write() -> None:
        made = await platform.policy.resources.create(
            platform.owner,
            policy_kit.credential(
                "upstream",
                provider="openai-compatible",
                reference=place.reference,
                upstream=f"{place.upstream}/v1",
                environment="local",
            ),
        )
        for resource in (
            policy_kit.route(made.id, models=("*",)),
            policy_kit.grant(models=("*",), purposes=(Purpose.DEVELOPMENT,)),
        ):
            await platform.policy.resources.create(platform.owner, resource)
        await publish(platform.policy, platform.owner)

    platform.do(write)


def has_policy(platform: ServingPlatform) -> bool:
    [known] = platform.do(
        lambda: platform.gateways.page(platform.owner, PageRequest(), group="")
    ).items
    return known.policy_version > 0


def keys_of(platform: ServingPlatform) -> tuple[str, str]:
    """An ingest key, and what lets the owner in."""

    async def made() -> tuple[str, str]:
        services = platform.services
        wish = NewApiKey(name="program", permissions=("trace:ingest",), kind=ApiKeyKind.INGEST)
        key = await services.identity.api_keys.create(platform.owner, wish)
        return key.text, await bearer(services, await first_tenant(services))

    return platform.do(made)


def test_everything_is_found_again_by_api_and_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_simulator() as simulator, serving_platform(tmp_path / "platform") as platform:
        upstream = simulator.openai_url.removesuffix("/v1")
        place = LinkedPlace(tmp_path / "place", platform.url, upstream)
        simulator.accept_key(place.key)
        made = platform.do(lambda: platform.gateways.create_code(platform.owner, group="local"))
        enrolled = place.enroll(made.text)
        assert enrolled.returncode == 0, enrolled.stderr
        put_policy(platform, place)
        ingest, owner = keys_of(platform)
        with place.running() as gateway:
            wait_for(lambda: has_policy(platform))
            environment = {
                "PATH": "/usr/bin:/bin",
                "OTEL_EXPORTER_OTLP_ENDPOINT": platform.url,
                "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{ingest}",
                "OTEL_SERVICE_NAME": "shop",
                "OPENAI_BASE_URL": f"{gateway.url}/v1",
                "OPENAI_API_KEY": gateway.lease(principal="user:ada"),
            }
            programs = [
                subprocess.Popen([sys.executable, "-c", text], env=environment)
                for text in PROGRAMS.values()
            ]
            for program in programs:
                with terminated(program):
                    assert program.wait(timeout=100) == 0
            project = platform.do(
                lambda: platform.services.traces.projects.all_of(platform.owner.organization_id)
            )[0]
            base = f"{platform.url}/v1/projects/{project}"
            found: list[dict[str, Any]] = []
            with httpx.Client(headers={"authorization": owner}, trust_env=False) as api:

                def spans() -> list[dict[str, Any]]:
                    found[:] = api.get(f"{base}/spans").json()["items"]
                    return found

                wait_for(lambda: len(spans()) >= len(CALLS) * 2 + 2, seconds=60)
                (sums,) = api.get(f"{base}/trace-sums").json()["items"]
        signed_in = tmp_path / "owner"
        signed_in.write_text(owner.removeprefix("Bearer "))

        def run(*arguments: str) -> list[dict[str, Any]]:
            sent = (*arguments, "--json", "--server", platform.url)
            assert main([*sent, "--api-key-file", str(signed_in)]) == 0
            shown: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
            return shown

        listed, summed = run("traces", "list", "--spans"), run("traces", "sum")
        twice = run("traces", "sum", "--count-twins")
    assert Counter((line["source"], line["kind"]) for line in found) == {
        ("otlp", "other"): 1,
        ("otlp", "tool"): 1,
        ("otlp", "llm"): len(CALLS),
        ("gateway", "llm"): len(CALLS),
    }
    said = {line["input_preview"] for line in found if line["kind"] == "llm"}
    assert {"Say hello to OpenInference.", "Say hello to Traceloop."} <= said
    assert listed == found
    # OpenLLMetry sends its trace with the request, so that its call and the gateway's are tied.
    assert summed == [sums]
    assert (sums["spans"], twice[0]["spans"]) == (len(found) - 1, len(found))
    assert twice[0]["sum_input_tokens"] - sums["sum_input_tokens"] == 7
