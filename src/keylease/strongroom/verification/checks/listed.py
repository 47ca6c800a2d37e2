"""Providers that are asked by one GET and tell live from dead by its status.

Each lists something that is free and needs a key; providers whose list of models is public (such as
NVIDIA's) are not here, because a 200 would say nothing. Sources: the providers' API references.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.findings import Belonging
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    USE,
    Answer,
    Found,
    Request,
    by_status,
)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One provider."""

    provider: str
    title: str
    kinds: tuple[str, ...]
    origins: tuple[str, ...]
    path: str
    self_hosted: bool = False
    header: str = "Authorization"
    form: str = "Bearer {}"
    marks: tuple[str, ...] = ("data",)
    """A 200 has one of these members; empty: it is a list."""
    extra: tuple[tuple[str, str], ...] = ()
    account: tuple[str, ...] = ()
    """Where in the answer the account stands."""

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        value = self.form.format(secret.reveal(why=USE).decode("latin-1"))
        return Request(self.path, {self.header: value, **dict(self.extra)})

    def read(self, answer: Answer) -> Found:
        """By its status."""
        if self.marks:
            as_expected = any(
                isinstance(answer.member(mark), list | dict | str) for mark in self.marks
            )
        else:
            as_expected = isinstance(answer.json, list)
        account = answer.words(*self.account) if self.account else ""
        return by_status(answer, Belonging(account=account), as_expected=as_expected)


CHECKS: Final = (
    Listed(
        provider="mistral",
        title="Mistral",
        kinds=("mistral-api-key",),
        origins=("https://api.mistral.ai",),
        path="/v1/models",
    ),
    Listed(
        provider="groq",
        title="Groq",
        kinds=("groq-api-key",),
        origins=("https://api.groq.com",),
        path="/openai/v1/models",
    ),
    Listed(
        provider="deepseek",
        title="DeepSeek",
        kinds=("deepseek-api-key",),
        origins=("https://api.deepseek.com",),
        path="/models",
    ),
    Listed(
        provider="together",
        title="Together",
        kinds=("together-api-key", "together-api-key-64"),
        origins=("https://api.together.xyz",),
        path="/v1/models",
        marks=(),
    ),
    Listed(
        provider="fireworks",
        title="Fireworks",
        kinds=("fireworks-api-key", "fireworks-api-key-old"),
        origins=("https://api.fireworks.ai",),
        path="/inference/v1/models",
    ),
    Listed(
        provider="cerebras",
        title="Cerebras",
        kinds=("cerebras-api-key",),
        origins=("https://api.cerebras.ai",),
        path="/v1/models",
    ),
    Listed(
        provider="replicate",
        title="Replicate",
        kinds=("replicate-api-token",),
        origins=("https://api.replicate.com",),
        path="/v1/account",
        marks=("username",),
        account=("username",),
    ),
    Listed(
        provider="elevenlabs",
        title="ElevenLabs",
        kinds=("elevenlabs-api-key", "elevenlabs-api-key-32"),
        origins=("https://api.elevenlabs.io",),
        path="/v1/user",
        header="xi-api-key",
        form="{}",
        marks=("user_id", "subscription"),
        account=("user_id",),
    ),
    Listed(
        provider="pinecone",
        title="Pinecone",
        kinds=("pinecone-api-key", "pinecone-api-key-old"),
        origins=("https://api.pinecone.io",),
        path="/indexes",
        header="Api-Key",
        form="{}",
        marks=("indexes",),
        extra=(("X-Pinecone-API-Version", "2025-04"),),
    ),
)
