"""Vendors of evaluation and tracing: Braintrust, LangSmith, Langfuse.

Sources: braintrust.dev/docs/reference/api (organizations); api.smith.langchain.com/redoc
(workspaces); api.reference.langfuse.com (projects of the key; Basic, public key and secret key).
LangSmith and Langfuse have regions that do not know each other's keys, and are run by others too.
"""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from keylease.contracts.findings import Belonging
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    USE,
    Answer,
    Found,
    NotAsked,
    Request,
    bearer,
    by_status,
)


class Braintrust(msgspec.Struct, frozen=True):
    """Asked for one organization."""

    provider: str = "braintrust"
    title: str = "Braintrust"
    kinds: tuple[str, ...] = ("braintrust-api-key", "braintrust-service-token")
    origins: tuple[str, ...] = ("https://api.braintrust.dev",)
    self_hosted: bool = True

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        return Request("/v1/organization?limit=1", bearer(secret))

    def read(self, answer: Answer) -> Found:
        """The organization's name."""
        belongs_to = Belonging(organization=answer.words("objects", 0, "name"))
        return by_status(answer, belongs_to, as_expected=isinstance(answer.member("objects"), list))


class LangSmith(msgspec.Struct, frozen=True):
    """Asked for the workspaces that the key sees."""

    provider: str = "langsmith"
    title: str = "LangSmith"
    kinds: tuple[str, ...] = ("langsmith-api-key", "langsmith-api-key-old")
    origins: tuple[str, ...] = (
        "https://api.smith.langchain.com",
        "https://eu.api.smith.langchain.com",
    )
    self_hosted: bool = True

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        key = secret.reveal(why=USE).decode("latin-1")
        return Request("/api/v1/workspaces", {"x-api-key": key})

    def read(self, answer: Answer) -> Found:
        """The first workspace stands for all."""
        belongs_to = Belonging(
            organization=answer.words(0, "organization_id"), project=answer.words(0, "display_name")
        )
        return by_status(answer, belongs_to, as_expected=isinstance(answer.json, list))


class Langfuse(msgspec.Struct, frozen=True):
    """Asked for the project of a pair of keys."""

    provider: str = "langfuse"
    title: str = "Langfuse"
    kinds: tuple[str, ...] = ("langfuse-secret-key",)
    origins: tuple[str, ...] = ("https://cloud.langfuse.com", "https://us.cloud.langfuse.com")
    self_hosted: bool = True

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request | NotAsked:
        """Needs the public key too."""
        del origin, now
        if not key_id:
            return NotAsked("Its public key was not found beside it.")
        pair = key_id.encode() + b":" + secret.reveal(why=USE)
        value = base64.b64encode(pair).decode()
        return Request("/api/public/projects", {"Authorization": f"Basic {value}"})

    def read(self, answer: Answer) -> Found:
        """A key belongs to one project."""
        belongs_to = Belonging(
            project=answer.words("data", 0, "name"),
            organization=answer.words("data", 0, "organization", "name"),
        )
        return by_status(answer, belongs_to, as_expected=isinstance(answer.member("data"), list))


CHECKS: Final = (Braintrust(), LangSmith(), Langfuse())
