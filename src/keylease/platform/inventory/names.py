"""What a variable's name tells: whether two names are one, and whether it is anybody's name."""

from __future__ import annotations

import functools
import re
from enum import IntEnum
from typing import Final

import msgspec

from keylease.contracts.findings import Location, PlaceKind
from keylease.detectors.naming import provider_of, words_beside

LONGEST: Final = 200
"""Characters of a name by which it is found again; what is longer is a text and no name."""
_CAMEL: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS: Final = re.compile(r"[^a-z0-9]+")
_NUMBER: Final = re.compile(r"\d+")
_ANYBODYS: Final = frozenset({
    "a", "access", "actions", "agent", "agents", "ai", "api", "apikey", "app", "application",
    "assistant", "auth", "authorization", "backend", "batch", "bearer", "benchmark", "bot", "cd",
    "chat", "ci", "client", "code", "completion", "completions", "config", "credential",
    "credentials", "creds", "default", "demo", "deploy", "dev", "development", "embed", "embedding",
    "embeddings", "env", "environment", "eval", "evals", "evaluation", "experiment", "experiments",
    "frontend", "github", "gitlab", "gpt", "id", "inference", "integration", "internal", "job",
    "jobs", "judge", "key", "keys", "live", "llm", "local", "main", "master", "model", "models",
    "my", "new", "notebook", "old", "org", "organization", "pass", "passwd", "password", "pat",
    "personal", "playground", "prd", "preprod", "preview", "primary", "private", "prod",
    "production", "project", "prompt", "public", "qa", "rag", "research", "runner", "sa", "sandbox",
    "script", "scripts", "sdk", "search", "secondary", "secret", "secretkey", "secrets", "server",
    "service", "shared", "sk", "stage", "staging", "studio", "svc", "team", "temp", "test",
    "testing", "the", "tmp", "token", "tokens", "tool", "tools", "uat", "user", "v", "value", "var",
    "web", "worker",
})  # fmt: skip
"""Words that people in every repository give to their variables."""


class Telling(IntEnum):
    """How much a name tells of which secret it stands for, rising."""

    NOTHING = 0
    """``API_KEY``: it may be anything."""
    SOMETHING = 1
    """``OPENAI_API_KEY``, ``NPM_TOKEN``: every organization has such names in every repository, but
    in one repository it is mostly one secret."""
    OWN = 2
    """``ACME_SEARCH_OPENAI_KEY``: somebody made this name for this secret of this provider."""


@functools.lru_cache(maxsize=4096)
def called(name: str) -> str:
    """A name as it is compared: ``openai_api_key`` for ``OPENAI_API_KEY`` and ``openaiApiKey``."""
    apart = _CAMEL.sub("_", name).lower()
    return _SEPARATORS.sub("_", apart).strip("_")[:LONGEST]


@functools.lru_cache(maxsize=4096)
def telling(name: str) -> Telling:
    """How much a name tells."""
    own = any(
        word not in _ANYBODYS and not _NUMBER.fullmatch(word) and len(word) > 1
        for word in words_beside(name)
    )
    if provider_of(name):
        return Telling.OWN if own else Telling.SOMETHING
    # A word of its own may be a service that this product knows nothing of, as in NPM_TOKEN.
    return Telling.SOMETHING if own else Telling.NOTHING


class KubernetesObject(msgspec.Struct, frozen=True):
    """An object of Kubernetes as a location tells it: ``Deployment prod/api``."""

    kind: str
    """In lower case."""
    namespace: str
    name: str

    @property
    def keeps(self) -> bool:
        """Whether it keeps or fetches secrets for others, and is no workload itself."""
        return self.kind.endswith(_KEEPERS)


_KEEPERS: Final = ("secret", "secrets", "secretstore", "configmap", "secretproviderclass")
"""Ends of the kinds that keep things: ``SealedSecret``, ``ClusterSecretStore`` ..."""


def kubernetes_object(location: Location) -> KubernetesObject | None:
    """The object in which a location lies; ``None`` where it lies in none."""
    if location.kind is PlaceKind.KUBERNETES_MANIFEST:
        text = location.detail
    elif location.kind is PlaceKind.KUBERNETES_CLUSTER:
        text = location.path.partition(": ")[2]
    else:
        return None
    kind, _, whole = text.partition(" ")
    namespace, _, name = whole.rpartition("/")
    return KubernetesObject(kind.lower(), namespace, name) if name else None
