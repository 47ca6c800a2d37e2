"""Configuration of clouds, vendors and their command lines."""

from __future__ import annotations

import re
from typing import ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document, text
from keylease.discovery.names import environment_of
from keylease.discovery.sources.source import Source

_PROFILE: Final = re.compile(rb"^[ \t]*\[(?:profile[ ]+)?([^\]\n]{1,100})\]", re.MULTILINE)
_FOLDERS: Final = re.compile(
    r"/(?:\.aws|\.azure|\.bluemix|\.config/(?:gcloud|gh|glab-cli|hub|openai|anthropic|doctl|flyctl|"
    r"langsmith|rclone|stripe|configstore|github-copilot|cohere|replicate)|\.docker|\.kube|"
    r"\.cache/huggingface|\.huggingface|\.terraform\.d|\.snowflake|\.snowsql|\.oci|\.fly|\.modal|"
    r"\.wandb|\.kaggle|\.databricks|\.ollama|\.replicate|\.together|\.groq|\.mistral|\.ssh|"
    r"\.openai|\.anthropic|\.cohere|\.litellm|\.langfuse|\.braintrust)/"
)


class CloudCommandLines(Source):
    """Files that command lines keep in the home directory, by their folder or name."""

    kind: ClassVar[PlaceKind] = PlaceKind.CLOUD_CONFIGURATION
    names: ClassVar[frozenset[str]] = frozenset(
        {
            ".boto",
            ".databrickscfg",
            ".dockercfg",
            ".dockerconfigjson",
            ".modal.toml",
            ".pgpass",
            ".s3cfg",
            ".terraformrc",
            ".vault-token",
            "application_default_credentials.json",
            "credentials.tfrc.json",
            "kaggle.json",
            "kubeconfig",
            "rclone.conf",
        }
    )

    def context(self, document: Document, offset: int) -> Context:
        """The profile, where the file has profiles."""
        profile = document.last(_PROFILE, offset)
        name = text(profile[1]) if profile else ""
        return Context(
            kind=self.kind,
            name=document.name_before(offset),
            environment=environment_of(name),
            detail=f"profile {name}" if name else "",
        )


def is_cloud_folder(path: str) -> bool:
    """Whether a path lies where a cloud's command line keeps its files."""
    return _FOLDERS.search(path) is not None
