"""Every connector by the name of its system."""

from __future__ import annotations

from keylease.errors import ConnectorUnknown
from keylease.strongroom.connectors.aws_sm import AwsSecretsManager
from keylease.strongroom.connectors.braintrust import Braintrust
from keylease.strongroom.connectors.github import GitHub
from keylease.strongroom.connectors.gitlab import GitLab
from keylease.strongroom.connectors.interfaces import Connector
from keylease.strongroom.connectors.langfuse import Langfuse
from keylease.strongroom.connectors.langsmith import LangSmith
from keylease.strongroom.connectors.litellm import LiteLLM
from keylease.strongroom.connectors.openrouter import OpenRouter
from keylease.strongroom.connectors.vault import Vault
from keylease.strongroom.connectors.vercel import Vercel

SYSTEMS: tuple[type[Connector], ...] = (
    GitHub,
    GitLab,
    Vercel,
    Vault,
    AwsSecretsManager,
    Braintrust,
    LangSmith,
    Langfuse,
    LiteLLM,
    OpenRouter,
)


def connector_of(system: str) -> Connector:
    """The connector of a system. Raises ``ConnectorUnknown``."""
    for kind in SYSTEMS:
        if kind.system == system:
            return kind()
    known = ", ".join(kind.system for kind in SYSTEMS)
    raise ConnectorUnknown(f"There is no connector for {system!r}.", advice=f"Known: {known}.")
