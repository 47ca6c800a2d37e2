"""The OpenAI API, as OpenAI and every compatible provider serve it.

Never listed: organization/* and projects (admin keys, service accounts), realtime sessions and
client secrets, uploads, assistants, threads, vector stores, containers, fine-tuning, webhooks.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.catalogue import WireFormat
from keylease.errors import KeyleaseError
from keylease.strongroom.gateway.providers.interfaces import (
    BodyKind,
    ObjectRole,
    Operation,
    Surface,
    TellsOfBatch,
)

_PAGE: Final = frozenset({"limit", "after", "before", "order"})
_INCLUDE: Final = frozenset({"include", "include[]", "include_obfuscation"})
_REPLAY: Final = _INCLUDE | {"stream", "starting_after"}
_JSON: Final = BodyKind.JSON
_FORM: Final = BodyKind.FORM
_BATCH_FILES: Final = ("id", "output_file_id", "error_file_id")

_OPERATIONS: Final = (
    Operation(
        name="chat", method="POST", template="/chat/completions", body=_JSON, reports_usage=True
    ),
    Operation(
        name="text_completion",
        method="POST",
        template="/completions",
        body=_JSON,
        reports_usage=True,
    ),
    Operation(
        name="responses",
        method="POST",
        template="/responses",
        body=_JSON,
        role=ObjectRole.CREATES,
        stored_by_default=True,
        learns=("id",),
        reports_usage=True,
    ),
    Operation(
        name="responses.get",
        method="GET",
        template="/responses/{id}",
        role=ObjectRole.USES,
        query=_REPLAY,
        tells_of=TellsOfBatch.RESPONSE,
    ),
    Operation(
        name="responses.delete", method="DELETE", template="/responses/{id}", role=ObjectRole.USES
    ),
    Operation(
        name="responses.cancel",
        method="POST",
        template="/responses/{id}/cancel",
        role=ObjectRole.USES,
        tells_of=TellsOfBatch.RESPONSE,
    ),
    Operation(
        name="responses.input_items",
        method="GET",
        template="/responses/{id}/input_items",
        role=ObjectRole.USES,
        query=_PAGE | _INCLUDE,
    ),
    Operation(
        name="embeddings", method="POST", template="/embeddings", body=_JSON, reports_usage=True
    ),
    Operation(name="models.list", method="GET", template="/models", local=True),
    Operation(name="models.get", method="GET", template="/models/{model}", local=True),
    Operation(
        name="moderations",
        method="POST",
        template="/moderations",
        body=_JSON,
        default_model="omni-moderation-latest",
        free=True,
    ),
    Operation(
        name="image_generation",
        method="POST",
        template="/images/generations",
        body=_JSON,
        default_model="dall-e-2",
        reports_usage=True,
    ),
    Operation(
        name="image_edit",
        method="POST",
        template="/images/edits",
        body=_FORM,
        default_model="dall-e-2",
        reports_usage=True,
    ),
    Operation(
        name="image_variation",
        method="POST",
        template="/images/variations",
        body=_FORM,
        default_model="dall-e-2",
    ),
    Operation(name="speech", method="POST", template="/audio/speech", body=_JSON),
    Operation(
        name="transcription",
        method="POST",
        template="/audio/transcriptions",
        body=_FORM,
        reports_usage=True,
    ),
    Operation(name="translation", method="POST", template="/audio/translations", body=_FORM),
    Operation(
        name="files.create",
        method="POST",
        template="/files",
        body=BodyKind.UPLOAD,
        role=ObjectRole.CREATES,
        learns=("id",),
    ),
    Operation(
        name="files.list",
        method="GET",
        template="/files",
        role=ObjectRole.LISTS,
        query=_PAGE | {"purpose"},
    ),
    Operation(name="files.get", method="GET", template="/files/{id}", role=ObjectRole.USES),
    Operation(name="files.delete", method="DELETE", template="/files/{id}", role=ObjectRole.USES),
    Operation(
        name="files.content",
        method="GET",
        template="/files/{id}/content",
        role=ObjectRole.USES,
        tells_of=TellsOfBatch.RESULTS,
    ),
    Operation(
        name="batches.create",
        method="POST",
        template="/batches",
        body=_JSON,
        role=ObjectRole.CREATES,
        learns=_BATCH_FILES,
        any_model=True,
    ),
    Operation(
        name="batches.list",
        method="GET",
        template="/batches",
        role=ObjectRole.LISTS,
        query=_PAGE,
    ),
    Operation(
        name="batches.get",
        method="GET",
        template="/batches/{id}",
        role=ObjectRole.USES,
        learns=_BATCH_FILES,
        tells_of=TellsOfBatch.STATE,
    ),
    Operation(
        name="batches.cancel",
        method="POST",
        template="/batches/{id}/cancel",
        role=ObjectRole.USES,
        learns=_BATCH_FILES,
        tells_of=TellsOfBatch.STATE,
    ),
)

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "invalid_request_error",
    405: "invalid_request_error",
    413: "invalid_request_error",
    429: "rate_limit_error",
}


class _Error(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: None
    code: str


class _ErrorBody(msgspec.Struct, frozen=True):
    error: _Error


def error_body(error: KeyleaseError, request_id: str) -> bytes:
    """Render ``error`` in the shape of the OpenAI API."""
    return msgspec.json.encode(
        _ErrorBody(
            _Error(
                message=f"{error} (request {request_id})",
                type=_TYPES.get(error.http_status, "server_error"),
                param=None,
                code=error.code,
            )
        )
    )


OPENAI: Final = Surface(
    wire_format=WireFormat.OPENAI,
    operations=_OPERATIONS,
    references=frozenset(
        {
            "previous_response_id",
            "conversation",
            "conversation_id",
            "file_id",
            "file_ids",
            "input_file_id",
            "image_file_id",
            "vector_store_id",
            "vector_store_ids",
            "container",
            "container_id",
        }
    ),
    ask_for_usage=frozenset({"chat", "text_completion"}),
    error_body=error_body,
)
