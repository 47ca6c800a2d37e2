"""Anthropic: API keys and admin keys.

Source: docs.claude.com/en/api (list models, get organization, errors, response headers:
``anthropic-organization-id``).
"""

from __future__ import annotations

from http import HTTPStatus
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
    live,
)


class Anthropic(msgspec.Struct, frozen=True):
    """API keys are asked to list a model, admin keys for their organization."""

    kinds: tuple[str, ...]
    path: str
    mark: str
    """A member that a good answer has."""
    provider: str = "anthropic"
    title: str = "Anthropic"
    origins: tuple[str, ...] = ("https://api.anthropic.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        key = secret.reveal(why=USE).decode("latin-1")
        return Request(self.path, {"x-api-key": key, "anthropic-version": "2023-06-01"})

    def read(self, answer: Answer) -> Found:
        """``permission_error`` is said to keys that work."""
        identifier = answer.headers.get("anthropic-organization-id", "")
        name = answer.words("name") if self.mark == "name" else ""
        belongs_to = Belonging(organization=name or identifier)
        if (
            answer.status == HTTPStatus.FORBIDDEN
            and answer.words("error", "type") == "permission_error"
        ):
            return live(belongs_to, reason="It is accepted; it may not list models.")
        return by_status(
            answer, belongs_to, as_expected=isinstance(answer.member(self.mark), list | str)
        )


CHECKS: Final = (
    Anthropic(("anthropic-api-key",), "/v1/models?limit=1", "data"),
    Anthropic(("anthropic-admin-key",), "/v1/organizations/me", "name"),
)
