"""Hosts of models that tell whose a key is: Cohere, xAI, OpenRouter, Hugging Face.

Sources: docs.cohere.com/reference/checkapikey; docs.x.ai (REST, GET /v1/api-key);
openrouter.ai/docs/api-reference (GET /api/v1/key); huggingface.co/docs/hub/api (whoami-v2).
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.findings import Belonging
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    Answer,
    Found,
    Request,
    bearer,
    by_status,
    dead,
)

_INVALID: Final = "incorrect api key"
_MOST_NAMES: Final = 20


class Cohere(msgspec.Struct, frozen=True):
    """Has a question of its own for this."""

    provider: str = "cohere"
    title: str = "Cohere"
    kinds: tuple[str, ...] = ("cohere-api-key",)
    origins: tuple[str, ...] = ("https://api.cohere.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """POST without a body."""
        del key_id, origin, now
        return Request("/v1/check-api-key", bearer(secret), "POST")

    def read(self, answer: Answer) -> Found:
        """``valid``, and whose."""
        if answer.member("valid") is False:
            return dead()
        belongs_to = Belonging(
            organization=answer.words("organization_id"), account=answer.words("owner_id")
        )
        return by_status(answer, belongs_to, as_expected=answer.member("valid") is True)


class XAI(msgspec.Struct, frozen=True):
    """Describes the key that asks."""

    provider: str = "xai"
    title: str = "xAI"
    kinds: tuple[str, ...] = ("xai-api-key",)
    origins: tuple[str, ...] = ("https://api.x.ai",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        return Request("/v1/api-key", bearer(secret))

    def read(self, answer: Answer) -> Found:
        """A wrong key gets 400 with a sentence; a blocked one is described as such."""
        if _INVALID in (answer.words("error") or answer.text).lower():
            return dead()
        if any(answer.member(name) is True for name in ("api_key_blocked", "api_key_disabled")):
            return dead("It is blocked.")
        belongs_to = Belonging(
            account=answer.words("user_id"),
            organization=answer.words("team_id"),
            scopes=_texts(answer.member("acls")),
        )
        return by_status(answer, belongs_to, as_expected=bool(answer.words("api_key_id")))


class OpenRouter(msgspec.Struct, frozen=True):
    """Describes the key that asks; its label is a preview of the key and is left out."""

    provider: str = "openrouter"
    title: str = "OpenRouter"
    kinds: tuple[str, ...] = ("openrouter-api-key",)
    origins: tuple[str, ...] = ("https://openrouter.ai",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        return Request("/api/v1/key", bearer(secret))

    def read(self, answer: Answer) -> Found:
        """A provisioning key can make further keys."""
        flags = ("is_provisioning_key", "is_management_key")
        may_make_keys = any(answer.member("data", flag) is True for flag in flags)
        belongs_to = Belonging(
            account=answer.words("data", "creator_user_id"),
            scopes=("provisioning",) if may_make_keys else (),
        )
        return by_status(answer, belongs_to, as_expected=isinstance(answer.member("data"), dict))


class HuggingFace(msgspec.Struct, frozen=True):
    """Says who asks, in which organizations, with which role."""

    provider: str = "huggingface"
    title: str = "Hugging Face"
    kinds: tuple[str, ...] = ("huggingface-token", "huggingface-organization-token")
    origins: tuple[str, ...] = ("https://huggingface.co",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One GET."""
        del key_id, origin, now
        return Request("/api/whoami-v2", bearer(secret))

    def read(self, answer: Answer) -> Found:
        """A fine-grained token's rights are told as ``fineGrained``."""
        orgs = answer.member("orgs")
        names = [
            Answer(status=0, headers={}, json=org).words("name")
            for org in (orgs if isinstance(orgs, list) else ())[:_MOST_NAMES]
        ]
        role = answer.words("auth", "accessToken", "role")
        belongs_to = Belonging(
            account=answer.words("name"),
            organization=", ".join(filter(None, names)),
            scopes=(role,) if role else (),
        )
        return by_status(answer, belongs_to, as_expected=bool(answer.words("name")))


def _texts(found: object) -> tuple[str, ...]:
    if not isinstance(found, list):
        return ()
    return tuple(one for one in found[:_MOST_NAMES] if isinstance(one, str))


CHECKS: Final = (Cohere(), XAI(), OpenRouter(), HuggingFace())
