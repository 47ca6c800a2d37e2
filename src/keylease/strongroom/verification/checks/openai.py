"""OpenAI: project, service-account, legacy and admin keys.

Source: platform.openai.com/docs/api-reference (models, administration, debugging headers:
``openai-organization``, ``openai-project``) and its page on error codes. A restricted key without
the right to list models gets 403 with the scope that it lacks: it works.
"""

from __future__ import annotations

from http import HTTPStatus
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
    live,
    unknown,
)

_ELSEWHERE: Final = {"incorrect_hostname": "It is accepted, in another region only."}
_LIMITED: Final = "insufficient_quota"


class OpenAI(msgspec.Struct, frozen=True):
    """Keys are asked to list models, admin keys to list one project."""

    kinds: tuple[str, ...]
    path: str
    provider: str = "openai"
    title: str = "OpenAI"
    origins: tuple[str, ...] = ("https://api.openai.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """One list."""
        del key_id, origin, now
        return Request(self.path, bearer(secret))

    def read(self, answer: Answer) -> Found:
        """The organization is in a header of every answer that knows the key."""
        belongs_to = Belonging(
            organization=answer.headers.get("openai-organization", ""),
            project=answer.headers.get("openai-project", ""),
        )
        code = answer.words("error", "code")
        if code in _ELSEWHERE:
            return live(belongs_to, reason=_ELSEWHERE[code])
        if code == _LIMITED:
            return live(belongs_to, reason="It is accepted; its quota is used up.")
        if code == "ip_not_authorized":
            return unknown("The provider does not answer to this machine's address.")
        if answer.status == HTTPStatus.FORBIDDEN and _lacks_scope(answer):
            return live(belongs_to, reason="It is accepted; it may not list models.")
        return by_status(answer, belongs_to, as_expected=isinstance(answer.member("data"), list))


def _lacks_scope(answer: Answer) -> bool:
    message = answer.words("error", "message") or answer.words("error")
    return "insufficient permissions" in message.lower()


CHECKS: Final = (
    OpenAI(
        (
            "openai-project-key",
            "openai-service-account-key",
            "openai-legacy-key",
            "openai-oldest-key",
        ),
        "/v1/models",
    ),
    OpenAI(("openai-admin-key",), "/v1/organization/projects?limit=1"),
)
