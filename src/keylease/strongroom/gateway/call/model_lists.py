"""Answers to ``/v1/models``: what the caller's lease may use, and nothing of the account behind."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.errors import PathNotFound
from keylease.strongroom.gateway.call.routing import CompiledPolicy

_NO_DATE: Final = "1970-01-01T00:00:00Z"
"""When a model was made is not known here; the Anthropic API asks for a date."""


def answer_models(
    policy: CompiledPolicy, claims: LeaseClaims, wire_format: WireFormat, model: str
) -> bytes:
    """The list, or the one ``model``; raises ``PathNotFound`` when the lease may not use it."""
    names = policy.models(claims, wire_format)
    render = _openai if wire_format is WireFormat.OPENAI else _anthropic
    if model:
        # A model that only a pattern covers is in no list, and may be used all the same.
        if model not in names and not policy.allows(claims, model, wire_format):
            raise PathNotFound(
                "Your lease does not cover a model of this name.",
                advice="GET /v1/models lists what it covers.",
            )
        return msgspec.json.encode(render(model))
    data = [render(name) for name in names]
    if wire_format is WireFormat.OPENAI:
        return msgspec.json.encode({"object": "list", "data": data})
    return msgspec.json.encode(
        {
            "data": data,
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
    )


def _openai(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "keylease"}


def _anthropic(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _NO_DATE}
