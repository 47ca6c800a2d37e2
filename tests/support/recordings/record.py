"""Records the files of this folder again; see README.md."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.simulated_provider import fresh_key, running_simulator

FOLDER = Path(__file__).parent


def main(what: str, where: str) -> None:
    with running_simulator() as simulator:
        secret = fresh_key()
        simulator.accept_key(secret)
        key = secret.decode()
        if what == "vercel":
            shutil.copy(FOLDER / "vercel_ai" / "record.mjs", where)
            command = ["node", "record.mjs", simulator.openai_url, key]
            said = subprocess.run(command, cwd=where, stdout=subprocess.PIPE, check=True).stdout
            spans, name = said, "vercel-ai-6.0.326.otlp"
        else:
            module = "tests.support.instrumented_program"
            urls = [simulator.openai_url, simulator.anthropic_url]
            command = [where, "-m", module, *urls, key, "traceloop-openai"]
            root = FOLDER.parents[2]
            said = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True).stdout
            spans, name = json.loads(said)["spans"], "openllmetry-openai-0.40.14.otlp"
        (FOLDER / name).write_bytes(base64.b64decode(spans))


if __name__ == "__main__":
    main(*sys.argv[1:])
