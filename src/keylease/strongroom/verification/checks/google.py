"""Google: API keys of Gemini and of Google Cloud, and those bound to a service account.

Source: ai.google.dev/api/models; google.rpc.ErrorInfo (reasons ``API_KEY_INVALID``,
``API_KEY_SERVICE_BLOCKED``, ``SERVICE_DISABLED`` ..., ``metadata.consumer`` names the project).
A key without the Generative Language API is refused with its project's number: it works elsewhere.
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
    dead,
    live,
)

_DEAD: Final = frozenset({"API_KEY_INVALID", "CONSUMER_INVALID", "API_KEY_EXPIRED"})
_LIVE: Final = {
    "API_KEY_SERVICE_BLOCKED": "It is accepted, and not for Gemini.",
    "SERVICE_DISABLED": "It is accepted; its project has Gemini switched off.",
    "API_KEY_HTTP_REFERRER_BLOCKED": "It is accepted, from certain pages only.",
    "API_KEY_IP_ADDRESS_BLOCKED": "It is accepted, from certain addresses only.",
    "API_KEY_ANDROID_APP_BLOCKED": "It is accepted, from certain applications only.",
    "API_KEY_IOS_APP_BLOCKED": "It is accepted, from certain applications only.",
}


class Google(msgspec.Struct, frozen=True):
    """Keys are asked to list one model."""

    kinds: tuple[str, ...] = ("google-api-key", "google-bound-key")
    provider: str = "google"
    title: str = "Google"
    origins: tuple[str, ...] = ("https://generativelanguage.googleapis.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request:
        """With the key in a header: addresses are logged."""
        del key_id, origin, now
        key = secret.reveal(why=USE).decode("latin-1")
        return Request("/v1beta/models?pageSize=1", {"x-goog-api-key": key})

    def read(self, answer: Answer) -> Found:
        """The reason decides, not the status: an invalid key gets 400."""
        details = answer.member("error", "details")
        for detail in details if isinstance(details, list) else ():
            said = Answer(status=0, headers={}, json=detail)
            reason = said.words("reason")
            if reason in _DEAD:
                return dead()
            if reason in _LIVE:
                project = said.words("metadata", "consumer").removeprefix("projects/")
                return live(Belonging(project=project), reason=_LIVE[reason])
        if answer.status == HTTPStatus.UNAUTHORIZED:
            return dead()
        return by_status(answer, as_expected=isinstance(answer.member("models"), list))


CHECKS: Final = (Google(),)
