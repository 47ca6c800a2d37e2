"""An installation as `keylease up` makes it: one fingerprint key, by which everything meets.

The same provider key is used by a gateway, sent in a span by mistake, and found in a file.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import httpx
from tests.integration.platform.test_up_with_server import Installation
from tests.support.planting import openai_key
from tests.support.platform_doors import Doors
from tests.support.simulated_provider import RunningSimulator, simulator
from tests.support.supervised import wait_until
from tests.support.trace_kit import export

__all__ = ["simulator"]
SECONDS = 60


def api_key(owner: Doors, name: str, permission: str, *, kind: str = "api") -> str:
    wish = {"name": name, "kind": kind, "permissions": [permission]}
    answer = owner.ask("POST", "/v1/api-keys", wish)
    return next(str(value) for value in answer.values() if str(value).startswith("kl_"))


def test_a_key_in_use_in_a_span_and_in_a_file_is_one_credential(
    tmp_path: Path, simulator: RunningSimulator
) -> None:
    place = Installation(tmp_path / "home", simulator)
    place.key = openai_key()
    simulator.accept_key(place.key.encode())
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    (checkout / ".env").write_text(f"OPENAI_API_KEY={place.key}\n")
    owner = Doors(place.server)
    with owner.api, place.up("up"):
        link = re.search(r"http://\S+/sign-in/link#\S+", place.home.said("up"))
        assert link, place.home.said("up")
        owner.set_up(link[0])
        # 1. A gateway uses it, and tells by what it is recognised.
        place.lead_to_the_simulator(owner)
        wait_until(place.serves, seconds=SECONDS)
        # 2. A program sends it in a span.
        request = export("chat")
        span = request.resource_spans[0].scope_spans[0].spans[0]
        span.attributes.add(key="input.value").value.string_value = f"my key is {place.key}"
        ingest = api_key(owner, "spans", "trace:ingest", kind="ingest")
        sent = httpx.post(
            f"{place.server}/v1/traces", content=request.SerializeToString(), timeout=SECONDS,
            headers={
                "authorization": f"Bearer {ingest}", "content-type": "application/x-protobuf",
            },
        )  # fmt: skip
        assert sent.status_code == httpx.codes.OK, sent.text
        # 3. A scan of this machine finds it, without being told which key to take.
        pusher = tmp_path / "pusher"
        pusher.write_text(api_key(owner, "scanner", "inventory:write"))
        pusher.chmod(0o600)
        scan = place.home.run(
            "scan", "--push", "--server", place.server, "--api-key-file", str(pusher), str(checkout)
        )
        assert scan.returncode == 0, scan.stderr.decode()
        assert b"own key" not in scan.stderr, "it is the organization's"

        def found() -> list[dict[str, Any]]:
            return list(owner.ask("GET", "/v1/inventory/secrets")["items"])

        def kinds(one: dict[str, Any]) -> set[str]:
            return {place["location"]["kind"] for place in one["places"]}

        wait_until(
            lambda: found() and kinds(found()[0]) >= {"environment_file", "trace"}, seconds=SECONDS
        )
        wait_until(lambda: found()[0]["credential"], seconds=SECONDS)
        wait_until(lambda: found()[0]["consumers"], seconds=SECONDS)
        (one,) = found()
        assert one["credential"]["name"] == "openai"
        # 4. There is one key, where the strongroom's files are, and nothing of it at the platform.
        file = place.home.config / "fingerprint.key"
        assert file.stat().st_mode & 0o777 == 0o600
        key = json.loads(file.read_bytes())
        told = place.home.control("status")["platform"]["fingerprints"]
        assert told["key"] == f"{key['id']}.1"
        assert not list(place.home.data.rglob("fingerprint-keys/*"))
    for path in place.home.data.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert key["keys"][0]["key"].encode() not in content
            assert place.key.encode() not in content
