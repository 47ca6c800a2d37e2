"""The programs of docs/guides/traces-sending.md send to a real server, and are found there."""

from __future__ import annotations

import asyncio
import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.support.eventually import eventually
from tests.support.platform_doors import Doors
from tests.support.platform_process import running_platform
from tests.support.simulated_provider import fresh_key, running_simulator

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "traces-sending.md"
SPANS = 4
PROGRAMS = dict(re.findall(r"```python (\w+)\n(.*?)```", GUIDE.read_text(), flags=re.DOTALL))


async def test_the_guide_s_programs_send_spans(tmp_path: Path) -> None:
    with ExitStack() as opened:
        platform = opened.enter_context(running_platform(tmp_path / "platform"))
        simulator = opened.enter_context(running_simulator())
        doors = Doors(platform.url)
        opened.callback(doors.api.close)
        doors.set_up(platform.ready.sign_in_link)
        project = doors.ask("POST", "/v1/projects", {"name": "shop"})["id"]
        wanted = {
            "name": "shop",
            "kind": "ingest",
            "permissions": ["trace:ingest"],
            "project_id": project,
        }
        key = doors.ask("POST", "/v1/api-keys", wanted)["text"]
        provider_key = fresh_key()
        simulator.accept_key(provider_key)
        environment = {
            "PATH": "/usr/bin:/bin",
            "OTEL_EXPORTER_OTLP_ENDPOINT": platform.url,
            "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Bearer%20{key}",
            "OTEL_SERVICE_NAME": "shop",
            "OPENAI_BASE_URL": simulator.openai_url,
            "OPENAI_API_KEY": provider_key.decode(),
        }
        running = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment)
            for program in PROGRAMS.values()
        ]
        assert [await program.wait() for program in running] == [0, 0, 0]

        rows: dict[str, Any] = {}

        def all_found() -> bool:
            for span in doors.ask("GET", f"/v1/projects/{project}/spans")["items"]:
                rows[span["input_preview"] or span["name"]] = span
            return len(rows) == SPANS

        await eventually(all_found, seconds=30)
    tool = rows['{"word": "lease"}']
    assert (tool["kind"], tool["parent_span_id"]) == ("tool", rows["answer"]["span_id"])
    assert (rows["answer"]["session_id"], rows["answer"]["user_id"]) == ("session-1", "user-1")
    for dialect in ("OpenInference", "Traceloop"):
        row = rows[f"Say hello to {dialect}."]
        assert (row["kind"], row["model"], row["service"]) == ("llm", "gpt-4o-mini", "shop")
        assert row["output_tokens"] == 24
        assert row["cost"] > 0
