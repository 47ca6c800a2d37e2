"""Anthropic's paths, errors and rate-limit headers."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.simulator.anthropic import messages
from keylease.simulator.anthropic.batches import MessageBatches
from keylease.simulator.exchange import Answer, Call, Json, Refusal, json_answer
from keylease.simulator.failures import NO_SUCH_MODEL
from keylease.simulator.routing import Router

MODELS: Final = (
    "claude-opus-4-5",
    "claude-sonnet-4-5",
    "claude-haiku-4-5",
    "claude-3-5-haiku-latest",
)
_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class AnthropicSurface:
    """Answers the calls of one simulated organization."""

    prefix: Final = ""

    def __init__(self) -> None:
        batches = MessageBatches()
        self._router = Router(
            {
                "POST /v1/messages": messages.create,
                "POST /v1/messages/count_tokens": messages.count,
                "POST /v1/messages/batches": batches.create,
                "GET /v1/messages/batches": batches.list,
                "GET /v1/messages/batches/{id}": batches.get,
                "GET /v1/messages/batches/{id}/results": batches.results,
                "POST /v1/messages/batches/{id}/cancel": batches.cancel,
                "DELETE /v1/messages/batches/{id}": batches.delete,
                "GET /v1/models": _list_models,
                "GET /v1/models/{id}": _get_model,
            }
        )

    def answer(self, call: Call, model: str) -> Answer:
        """Answer a call; raises ``Refusal``."""
        if "anthropic-version" not in call.headers:
            raise Refusal(400, "anthropic-version: header is required")
        if model == NO_SUCH_MODEL:
            raise Refusal(404, f"model: {model}")
        return self._router.answer(call)

    @staticmethod
    def presented_key(headers: dict[str, str]) -> str:
        """The key as the caller sent it, or an empty string."""
        if key := headers.get("x-api-key"):
            return key
        scheme, _, token = headers.get("authorization", "").partition(" ")
        return token.strip() if scheme.lower() == "bearer" else ""

    @staticmethod
    def refused_key(presented: str) -> Refusal:
        """What a caller with no key or a wrong one gets."""
        return Refusal(401, "invalid x-api-key" if presented else "x-api-key header is required")

    @staticmethod
    def render(refusal: Refusal, request_id: str) -> Answer:
        """An error in Anthropic's shape."""
        kind = _KINDS.get(refusal.status, "api_error")
        value = {
            "type": "error",
            "error": {"type": kind, "message": refusal.message},
            "request_id": request_id,
        }
        body = msgspec.json.encode(value)
        return Answer(status=refusal.status, body=body, headers=refusal.headers)

    @staticmethod
    def common_headers(request_id: str, milliseconds: int) -> tuple[tuple[str, str], ...]:
        """Fields of every answer."""
        del milliseconds  # Anthropic does not tell
        return (
            ("request-id", request_id),
            ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        )

    @staticmethod
    def limit_headers(limit: int, remaining: int, reset: float) -> tuple[tuple[str, str], ...]:
        """The rate limit in requests per minute; ``reset`` is in seconds."""
        del reset  # Anthropic tells a time of day; the retry-after field is what clients read
        return (
            ("anthropic-ratelimit-requests-limit", str(limit)),
            ("anthropic-ratelimit-requests-remaining", str(remaining)),
        )


def _model(name: str) -> Json:
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": "2025-01-01T00:00:00Z",
    }


def _list_models(_call: Call) -> Answer:
    return json_answer(
        {
            "data": [_model(name) for name in MODELS],
            "has_more": False,
            "first_id": MODELS[0],
            "last_id": MODELS[-1],
        }
    )


def _get_model(_call: Call, name: str) -> Answer:
    return json_answer(_model(name))
