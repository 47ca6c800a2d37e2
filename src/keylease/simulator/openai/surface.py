"""OpenAI's paths, errors and rate-limit headers."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.simulator.exchange import Answer, Call, Refusal
from keylease.simulator.failures import NO_SUCH_MODEL
from keylease.simulator.openai import chat, small
from keylease.simulator.openai.files import Batches, Files
from keylease.simulator.openai.responses import Responses
from keylease.simulator.routing import Router

_KINDS: Final = {
    401: "invalid_request_error",
    403: "invalid_request_error",
    429: "requests",
    500: "server_error",
    502: "server_error",
    503: "service_unavailable",
}
_CODES: Final = {401: "invalid_api_key", 429: "rate_limit_exceeded"}


class OpenAISurface:
    """Answers the calls of one simulated organization."""

    prefix: Final = "/v1"

    def __init__(self) -> None:
        files = Files()
        responses = Responses()
        batches = Batches(
            files,
            {
                "/v1/chat/completions": chat.chat_completions,
                "/v1/completions": chat.completions,
                "/v1/embeddings": small.embeddings,
                "/v1/responses": responses.create,
            },
        )
        self._router = Router(
            {
                "POST /v1/chat/completions": chat.chat_completions,
                "POST /v1/completions": chat.completions,
                "POST /v1/responses": responses.create,
                "GET /v1/responses/{id}": responses.get,
                "DELETE /v1/responses/{id}": responses.delete,
                "POST /v1/responses/{id}/cancel": responses.cancel,
                "GET /v1/responses/{id}/input_items": responses.input_items,
                "POST /v1/embeddings": small.embeddings,
                "POST /v1/moderations": small.moderations,
                "GET /v1/models": small.list_models,
                "GET /v1/models/{id}": small.get_model,
                "POST /v1/images/generations": small.image_generations,
                "POST /v1/images/edits": small.image_from_image,
                "POST /v1/images/variations": small.image_from_image,
                "POST /v1/audio/speech": small.speech,
                "POST /v1/audio/transcriptions": small.transcription,
                "POST /v1/audio/translations": small.transcription,
                "POST /v1/files": files.upload,
                "GET /v1/files": files.list,
                "GET /v1/files/{id}": files.get,
                "GET /v1/files/{id}/content": files.content,
                "DELETE /v1/files/{id}": files.delete,
                "POST /v1/batches": batches.create,
                "GET /v1/batches": batches.list,
                "GET /v1/batches/{id}": batches.get,
                "POST /v1/batches/{id}/cancel": batches.cancel,
            }
        )

    def answer(self, call: Call, model: str) -> Answer:
        """Answer a call; raises ``Refusal``."""
        if model == NO_SUCH_MODEL:
            raise Refusal(
                404,
                f"The model `{model}` does not exist or you do not have access to it.",
                kind="invalid_request_error",
                code="model_not_found",
            )
        return self._router.answer(call)

    @staticmethod
    def presented_key(headers: dict[str, str]) -> str:
        """The key as the caller sent it, or an empty string."""
        scheme, _, key = headers.get("authorization", "").partition(" ")
        return key.strip() if scheme.lower() == "bearer" else ""

    @staticmethod
    def refused_key(presented: str) -> Refusal:
        """What a caller with no key or a wrong one gets. OpenAI repeats parts of a wrong key."""
        if not presented:
            return Refusal(
                401,
                "You didn't provide an API key. You need to provide your API key in an "
                "Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
                code="",
            )
        hint = f"{presented[:8]}{'*' * 8}{presented[-4:]}"
        return Refusal(
            401,
            f"Incorrect API key provided: {hint}. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
        )

    @staticmethod
    def render(refusal: Refusal, request_id: str) -> Answer:
        """An error in OpenAI's shape."""
        del request_id  # OpenAI sends it in a header only
        code = refusal.code if refusal.code is not None else _CODES.get(refusal.status)
        error = {
            "message": refusal.message,
            "type": refusal.kind or _KINDS.get(refusal.status, "invalid_request_error"),
            "param": refusal.param,
            "code": code or None,
        }
        body = msgspec.json.encode({"error": error})
        return Answer(status=refusal.status, body=body, headers=refusal.headers)

    @staticmethod
    def common_headers(request_id: str, milliseconds: int) -> tuple[tuple[str, str], ...]:
        """Fields of every answer."""
        return (
            ("x-request-id", request_id),
            ("openai-processing-ms", str(milliseconds)),
            ("openai-version", "2020-10-01"),
            ("openai-organization", "org-simulator"),
        )

    @staticmethod
    def limit_headers(limit: int, remaining: int, reset: float) -> tuple[tuple[str, str], ...]:
        """The rate limit in requests per minute; ``reset`` is in seconds."""
        return (
            ("x-ratelimit-limit-requests", str(limit)),
            ("x-ratelimit-remaining-requests", str(remaining)),
            ("x-ratelimit-reset-requests", f"{reset:.3f}s"),
        )
