"""The Anthropic Messages API.

Never listed: organizations/* (API keys, members, federation), oauth, files, skills.
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

_BETA: Final = frozenset({"beta"})
_PAGE: Final = _BETA | {"limit", "after_id", "before_id"}
_BATCH: Final = "/v1/messages/batches/{id}"

_OPERATIONS: Final = (
    Operation(
        name="chat",
        method="POST",
        template="/v1/messages",
        body=BodyKind.JSON,
        query=_BETA,
        reports_usage=True,
    ),
    Operation(
        name="count_tokens",
        method="POST",
        template="/v1/messages/count_tokens",
        body=BodyKind.JSON,
        free=True,
        query=_BETA,
    ),
    Operation(
        name="batches.create",
        method="POST",
        template="/v1/messages/batches",
        body=BodyKind.JSON,
        role=ObjectRole.CREATES,
        query=_BETA,
        learns=("id",),
        batch=True,
        links=True,
    ),
    Operation(
        name="batches.list",
        method="GET",
        template="/v1/messages/batches",
        role=ObjectRole.LISTS,
        query=_PAGE,
        links=True,
    ),
    Operation(
        name="batches.get",
        method="GET",
        template=_BATCH,
        role=ObjectRole.USES,
        query=_BETA,
        tells_of=TellsOfBatch.STATE,
        links=True,
    ),
    Operation(
        name="batches.delete", method="DELETE", template=_BATCH, role=ObjectRole.USES, query=_BETA
    ),
    Operation(
        name="batches.cancel",
        method="POST",
        template=_BATCH + "/cancel",
        role=ObjectRole.USES,
        query=_BETA,
        tells_of=TellsOfBatch.STATE,
        links=True,
    ),
    Operation(
        name="batches.results",
        method="GET",
        template=_BATCH + "/results",
        role=ObjectRole.USES,
        query=_BETA,
        tells_of=TellsOfBatch.RESULTS,
    ),
    Operation(
        name="models.list",
        method="GET",
        template="/v1/models",
        query=_PAGE,
        local=True,
    ),
    Operation(
        name="models.get", method="GET", template="/v1/models/{model}", query=_BETA, local=True
    ),
)

_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


class _Error(msgspec.Struct, frozen=True):
    type: str
    message: str
    code: str


class _ErrorBody(msgspec.Struct, frozen=True, tag="error", tag_field="type"):
    error: _Error
    request_id: str


def error_body(error: KeyleaseError, request_id: str) -> bytes:
    """Render ``error`` in the shape of the Anthropic API."""
    return msgspec.json.encode(
        _ErrorBody(
            _Error(
                type=_TYPES.get(error.http_status, "api_error"),
                message=str(error),
                code=error.code,
            ),
            request_id,
        )
    )


ANTHROPIC: Final = Surface(
    wire_format=WireFormat.ANTHROPIC,
    operations=_OPERATIONS,
    references=frozenset({"file_id", "container", "container_id"}),
    ask_for_usage=frozenset(),
    error_body=error_body,
)
