"""Which variables `keylease run` sets and takes away."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from keylease.sdk.provider_variables import program_environment, provider_variables, recognised

ORIGIN = "http://127.0.0.1:9"


@pytest.mark.parametrize(
    "name",
    [
        "OPENAI_API_KEY", "OPENAI_API_KEY_2", "OPENAI_ADMIN_KEY", "OPENAI_BASE_URL",
        "OPENAI_ORG_ID", "OPENAI_ORGANIZATION", "OPENAI_PROJECT_ID", "ANTHROPIC_AUTH_TOKEN",
        "ANTHROPIC_CUSTOM_HEADERS", "AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT",
        "AZURE_API_KEY", "GEMINI_API_KEY", "GOOGLE_API_KEY", "MISTRAL_API_KEY", "CO_API_KEY",
        "GROQ_API_KEY", "HF_TOKEN", "HUGGINGFACEHUB_API_TOKEN", "OPENROUTER_API_KEY",
        "REPLICATE_API_TOKEN", "TOGETHER_API_KEY", "XAI_API_KEY", "AWS_BEARER_TOKEN_BEDROCK",
        "CLAUDE_CODE_OAUTH_TOKEN", "LITELLM_PROXY_API_KEY", "PERPLEXITYAI_API_KEY",
        "ANTHROPIC_FOUNDRY_API_KEY", "ANTHROPIC_AWS_API_KEY", "ANTHROPIC_IDENTITY_TOKEN_FILE",
        "ANTHROPIC_PROFILE", "ANTHROPIC_CONFIG_DIR", "ANTHROPIC_VERTEX_BASE_URL",
        "AZURE_OPENAI_AD_TOKEN", "OLLAMA_API_KEY", "VLLM_API_KEY", "AI_GATEWAY_API_KEY",
        "VERTEX_API_KEY", "CLARIFAI_PAT", "GIGACHAT_CREDENTIALS",
    ],
)  # fmt: skip
def test_it_belongs_to_a_provider(name: str) -> None:
    assert recognised(name)


@pytest.mark.parametrize(
    "name",
    [
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "GOOGLE_APPLICATION_CREDENTIALS",
        "GOOGLE_CLOUD_PROJECT", "GITHUB_TOKEN", "DATABASE_URL", "HF_HOME", "PATH",
        "MY_OPENAI_API_KEY_HOLDER", "OPENAI_LOG", "KEYLEASE_DATA_DIR",
        "LITELLM_LOCAL_MODEL_COST_MAP",
    ],
)  # fmt: skip
def test_it_is_left_alone(name: str) -> None:
    assert not recognised(name)


@pytest.mark.parametrize("package", ["openai", "anthropic"])
def test_whatever_the_installed_sdks_read_is_removed(package: str) -> None:
    """All names in their sources that begin like theirs, but for logging and telemetry."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    [folder] = spec.submodule_search_locations
    written = re.compile(r"""["']((?:OPENAI|ANTHROPIC|AZURE_OPENAI)_[A-Z0-9_]+)["']""")
    names = {
        name
        for file in Path(folder).rglob("*.py")
        for name in written.findall(file.read_text(encoding="utf-8"))
    }
    assert f"{package.upper()}_API_KEY" in names
    left = {name for name in names if not recognised(name)}
    assert all("_LOG" in name or "_OPEN_TELEMETRY" in name for name in left), left


def test_everything_that_is_set_is_recognised_when_it_comes_from_outside() -> None:
    assert [n for n in provider_variables(origin=ORIGIN, bearer="b") if not recognised(n)] == []


def test_the_programs_environment() -> None:
    environment = program_environment(
        {"OPENAI_API_KEY": "old", "NO_PROXY": "intern.example", "A": "1"},
        origin=ORIGIN,
        bearer="klr_x",
    )
    assert environment["OPENAI_API_KEY"] == "klr_x"
    assert environment["OPENAI_BASE_URL"] == f"{ORIGIN}/v1"
    assert environment["ANTHROPIC_BASE_URL"] == f"{ORIGIN}/anthropic"
    assert environment["NO_PROXY"] == "intern.example,127.0.0.1,localhost"
    assert environment["no_proxy"] == "127.0.0.1,localhost"
    assert environment["A"] == "1"
