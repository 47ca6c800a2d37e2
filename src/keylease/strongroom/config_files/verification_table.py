"""Reads [[verification]] of gateway.toml: where a provider is, whose found keys are asked about.

For services that are run by oneself. It stands in the strongroom's own file and nowhere else: what
could say where found keys are sent could have them all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keylease.strongroom.config_files import kinds
from keylease.strongroom.config_files.reader import Table, did_you_mean, quoted
from keylease.strongroom.configuration import VerificationSettings

PROVIDERS: Final = (
    "anthropic",
    "aws",
    "braintrust",
    "cerebras",
    "cohere",
    "deepseek",
    "elevenlabs",
    "fireworks",
    "github",
    "gitlab",
    "google",
    "groq",
    "huggingface",
    "langfuse",
    "langsmith",
    "mistral",
    "openai",
    "openrouter",
    "pinecone",
    "replicate",
    "together",
    "vercel",
    "xai",
)


def read_verification(root: Table, path: Path) -> tuple[VerificationSettings, ...]:
    """Every table; ``path`` is that of gateway.toml."""
    found: list[VerificationSettings] = []
    for table in root.tables("verification"):
        one = _place(table, path)
        if one.provider and one.provider in [other.provider for other in found]:
            table.report(
                "provider", f"{quoted(one.provider)} has two tables.", "Leave one of them out."
            )
        found.append(one)
    return tuple(found)


def _place(table: Table, path: Path) -> VerificationSettings:
    provider = table.text("provider", required=True, expected='"gitlab"')
    if provider and provider not in PROVIDERS:
        table.report(
            "provider",
            f"Keys of {quoted(provider)} are not asked about.",
            did_you_mean(provider, PROVIDERS),
        )
    private = table.boolean("allow_private_address", default=False)
    settings = VerificationSettings(
        provider=provider,
        url=kinds.url(table, "url", http=private, required=True),
        allow_private_address=private,
        ca_file=kinds.file(table, "ca_file", path),
    )
    table.finish()
    return settings
