"""Environment variables that SDKs read: which `keylease run` sets, and which it removes.

Removed is what belongs to an AI provider or to an AI gateway: keys, endpoints, organizations.
Credentials of a cloud as a whole (``AWS_ACCESS_KEY_ID``, ``GOOGLE_APPLICATION_CREDENTIALS``, an
Azure login) stay, because programs need them for other things; ``AWS_BEARER_TOKEN_BEDROCK``, which
opens nothing but Bedrock's models, is removed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_PROVIDERS: Final = (
    "AI21",
    "AI_GATEWAY",
    "ALEPH_ALPHA",
    "ANTHROPIC",
    "ANYSCALE",
    "ARK",
    "ASSEMBLYAI",
    "AZURE_AI",
    "AZURE_INFERENCE",
    "AZURE_OPENAI",
    "BAICHUAN",
    "BASETEN",
    "BEDROCK",
    "CEREBRAS",
    "CLARIFAI",
    "CO",
    "COHERE",
    "DASHSCOPE",
    "DEEPGRAM",
    "DEEPINFRA",
    "DEEPSEEK",
    "EDENAI",
    "ELEVENLABS",
    "FAL",
    "FIREWORKS",
    "FIREWORKS_AI",
    "FRIENDLI",
    "GEMINI",
    "GIGACHAT",
    "GOOGLE_GENAI",
    "GOOGLE_GENERATIVE_AI",
    "GROQ",
    "HELICONE",
    "HF",
    "HUGGINGFACE",
    "HUGGINGFACEHUB",
    "HUGGING_FACE_HUB",
    "HUNYUAN",
    "HYPERBOLIC",
    "INCEPTION",
    "INFERMATIC",
    "JINA",
    "LAMBDA",
    "LANGDB",
    "LEPTON",
    "LITELLM",
    "LITELLM_PROXY",
    "MINIMAX",
    "MISTRAL",
    "MOONSHOT",
    "NEBIUS",
    "NLP_CLOUD",
    "NOVITA",
    "NVIDIA",
    "NVIDIA_NIM",
    "OLLAMA",
    "OPENAI",
    "OPENROUTER",
    "OPEN_ROUTER",
    "OR",
    "PERPLEXITY",
    "PERPLEXITYAI",
    "PORTKEY",
    "PPLX",
    "PREDIBASE",
    "QIANFAN",
    "REKA",
    "REPLICATE",
    "SAMBANOVA",
    "SILICONFLOW",
    "STABILITY",
    "STEPFUN",
    "TOGETHER",
    "TOGETHERAI",
    "TOGETHER_AI",
    "UPSTAGE",
    "VERCEL_AI_GATEWAY",
    "VERTEX",
    "VERTEXAI",
    "VLLM",
    "VOLCENGINE",
    "VOYAGE",
    "WATSONX",
    "WRITER",
    "XAI",
    "YI",
    "ZAI",
    "ZHIPU",
    "ZHIPUAI",
)
_SUBJECTS: Final = (
    "ADMIN_KEY",
    "AD_TOKEN",
    "API_BASE",
    "API_HOST",
    "API_KEY",
    "API_KEYS",
    "API_TOKEN",
    "API_TYPE",
    "API_URL",
    "API_VERSION",
    "AUTH_TOKEN",
    "BASE_URL",
    "CREDENTIALS",
    "CUSTOM_HEADERS",
    "ENDPOINT",
    "KEY",
    "ORGANIZATION",
    "ORG_ID",
    "PAT",
    "PROJECT_ID",
    "SITE_URL",
    "TOKEN",
    "URL",
    "WEBHOOK_SECRET",
)
_FAMILY: Final = re.compile(
    rf"(?:{'|'.join(_PROVIDERS)})_(?:{'|'.join(_SUBJECTS)})(?:_[A-Z0-9_]+)?"
)
"""A provider, a subject, and perhaps a suffix: OPENAI_API_KEY_2 is a key too."""
_WHOLE_FAMILY: Final = re.compile(
    r"(?:ANTHROPIC|AZURE_OPENAI|OPENAI)_(?!LOG$|OPEN_TELEMETRY(?:_|$))[A-Z0-9_]+"
)
"""Their SDKs read keys, tokens, profiles and endpoints from many names, and from new ones with
every release. Only those that are about logging and telemetry stay."""
_SINGLE: Final = frozenset(
    {
        "AWS_BEARER_TOKEN_BEDROCK",
        "AZURE_API_BASE",
        "AZURE_API_KEY",
        "AZURE_API_VERSION",
        "CLAUDE_API_KEY",
        "CLAUDE_CODE_OAUTH_TOKEN",
        "CLAUDE_CODE_USE_BEDROCK",
        "CLAUDE_CODE_USE_VERTEX",
        "CODEX_API_KEY",
        "GOOGLE_API_KEY",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "KEYLEASE_GATEWAY_URL",
        "KEYLEASE_LEASE",
        "PALM_API_KEY",
    }
)
_PROXY_EXCEPTIONS: Final = ("NO_PROXY", "no_proxy")


def provider_variables(*, origin: str, bearer: str) -> dict[str, str]:
    """What points the SDKs at the agent. ``origin`` is ``http://127.0.0.1:port``."""
    return {
        "OPENAI_API_KEY": bearer,
        "OPENAI_BASE_URL": f"{origin}/v1",
        "OPENAI_API_BASE": f"{origin}/v1",  # LiteLLM, LangChain and older clients
        "ANTHROPIC_API_KEY": bearer,  # alone: the SDK warns when ANTHROPIC_AUTH_TOKEN is set too
        "ANTHROPIC_BASE_URL": f"{origin}/anthropic",
        "ANTHROPIC_API_BASE": f"{origin}/anthropic",  # LiteLLM
        "KEYLEASE_GATEWAY_URL": origin,  # keylease.tracing, which sends the bearer as a lease
        "KEYLEASE_LEASE": bearer,
    }


def recognised(name: str) -> bool:
    """Whether a variable belongs to an AI provider or gateway."""
    return (
        name in _SINGLE
        or _FAMILY.fullmatch(name) is not None
        or _WHOLE_FAMILY.fullmatch(name) is not None
    )


def program_environment(
    environment: Mapping[str, str], *, origin: str, bearer: str
) -> dict[str, str]:
    """The environment of a program under `keylease run`."""
    kept = {name: value for name, value in environment.items() if not recognised(name)}
    for name in _PROXY_EXCEPTIONS:
        # A proxy of the program's own must not be asked for 127.0.0.1.
        before = [entry for entry in kept.get(name, "").split(",") if entry]
        kept[name] = ",".join([*before, "127.0.0.1", "localhost"])
    return {**kept, **provider_variables(origin=origin, bearer=bearer)}
