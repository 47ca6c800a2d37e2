"""Whose credential a name stands for: ``OPENAI_API_KEY``, ``prod-anthropic-key``, ``hf_token``.

Only names are read here, never values. A name counts when it has a provider's word and a word that
says it is a credential, so that ``OPENAI_BASE_URL`` is none.
"""

from __future__ import annotations

import functools
import re
from typing import Final

_PROVIDERS: Final[dict[str, str]] = {
    "AI21": "ai21",
    "ANTHROPIC": "anthropic",
    "AWS": "aws",
    "AZURE AI": "azure",
    "AZURE INFERENCE": "azure",
    "AZURE OPENAI": "azure",
    "AZURE": "azure",
    "BEDROCK": "bedrock",
    "BRAINTRUST": "braintrust",
    "CEREBRAS": "cerebras",
    "CLAUDE": "anthropic",
    "CO": "cohere",
    "CODEX": "openai",
    "COHERE": "cohere",
    "DATABRICKS": "databricks",
    "DEEPSEEK": "deepseek",
    "ELEVEN": "elevenlabs",
    "ELEVENLABS": "elevenlabs",
    "FIREWORKS": "fireworks",
    "GEMINI": "google",
    "GH": "github",
    "GITHUB": "github",
    "GITLAB": "gitlab",
    "GOOGLE": "google",
    "GCP": "google",
    "GROQ": "groq",
    "HELICONE": "helicone",
    "HF": "huggingface",
    "HUGGING FACE": "huggingface",
    "HUGGINGFACE": "huggingface",
    "HUGGINGFACEHUB": "huggingface",
    "JINA": "jina",
    "KEYLEASE": "keylease",
    "LANGCHAIN": "langsmith",
    "LANGFUSE": "langfuse",
    "LANGSMITH": "langsmith",
    "LITELLM": "litellm",
    "MISTRAL": "mistral",
    "NGC": "nvidia",
    "NVIDIA": "nvidia",
    "OPENAI": "openai",
    "OPENROUTER": "openrouter",
    "OPEN ROUTER": "openrouter",
    "PERPLEXITY": "perplexity",
    "PERPLEXITYAI": "perplexity",
    "PINECONE": "pinecone",
    "PORTKEY": "portkey",
    "PPLX": "perplexity",
    "REPLICATE": "replicate",
    "SNOWFLAKE": "snowflake",
    "STABILITY": "stability",
    "TOGETHER": "together",
    "TOGETHERAI": "together",
    "VAULT": "vault",
    "VERCEL": "vercel",
    "VERTEX": "google",
    "VOYAGE": "voyage",
    "WANDB": "wandb",
    "XAI": "xai",
    "GROK": "xai",
}
_CREDENTIAL: Final = re.compile(
    r"(?:^| )(?:API ?KEYS?|APIKEY|KEYS?|TOKENS?|SECRETS?|SECRETKEY|PAT|CREDENTIALS?|CREDS|PASSWORD|"
    r"AUTH|BEARER)(?: |\d|$)"
)
_PUBLIC: Final = re.compile(
    r"(?:^| )(?:PUBLIC|PUBLISHABLE|URL|BASE|ENDPOINT|PATH|FILE|LIMIT|COUNT|MAX)(?: |$)"
)
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^A-Za-z0-9]+")
_SHORT_FORMS: Final = {"CO": "CO API KEY", "GH": "GH TOKEN|GH PAT"}
"""Too short to count among other words: only these whole names do."""
_WORDS: Final = re.compile(
    r"(?:^| )(" + "|".join(sorted(_PROVIDERS, key=len, reverse=True)) + r")(?= |\d|$)"
)
_MAXIMUM_LENGTH: Final = 200
_ENVIRONMENTS: Final = {
    "prod": "production",
    "production": "production",
    "live": "production",
    "staging": "staging",
    "stage": "staging",
    "preprod": "staging",
    "uat": "staging",
    "dev": "development",
    "development": "development",
    "local": "development",
    "preview": "preview",
    "sandbox": "sandbox",
    "qa": "test",
    "test": "test",
    "testing": "test",
    "ci": "ci",
}
_FOLDERS_LOOKED_AT: Final = 3
_ORDINARY_FOLDERS: Final = frozenset({"dev", "live", "local", "stage", "test", "testing"})
"""Folders of these names are mostly something else: /usr/local, tests, /dev."""
_NAME_WORDS: Final = re.compile(r"[a-z]+")


@functools.lru_cache(maxsize=4096)
def provider_of(name: str) -> str:
    """The provider whose credential the name stands for, or nothing."""
    if len(name) > _MAXIMUM_LENGTH:
        return ""
    words = _SEPARATORS.sub(" ", _CAMEL.sub(" ", name)).strip().upper()
    found = _WORDS.search(words)
    if found is None or not _CREDENTIAL.search(words) or _PUBLIC.search(words):
        return ""
    if found[1] in _SHORT_FORMS and words not in _SHORT_FORMS[found[1]].split("|"):
        return ""
    return _PROVIDERS[found[1]]


def environment_of(text: str) -> str:
    """The environment that a name speaks of, or nothing. Of a path, its file and its folders."""
    folders, _, name = text.rpartition("/")
    for word in _NAME_WORDS.findall(name.lower()):
        if word in _ENVIRONMENTS:
            return _ENVIRONMENTS[word]
    for folder in reversed(folders.lower().split("/")[-_FOLDERS_LOOKED_AT:]):
        if folder in _ENVIRONMENTS and folder not in _ORDINARY_FOLDERS:
            return _ENVIRONMENTS[folder]
    return ""
