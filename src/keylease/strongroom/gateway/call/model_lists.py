"""Answers to ``/v1/models``: what the caller's lease may use, and nothing else of the account.

What the policy names is listed as it is. Where a route has a pattern, the provider is asked what it
serves (``upstream_models``), and listed is what of it lease, grant and route let through.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.patterns import matches
from keylease.errors import AccessDenied, LeaseRevoked, PathNotFound
from keylease.strongroom.gateway.call.call_environment import CallEnvironment
from keylease.strongroom.gateway.call.routing import CompiledPolicy, ResolvedTarget

_NO_DATE: Final = "1970-01-01T00:00:00Z"
"""When a model was made is not known here; the Anthropic API asks for a date."""


async def list_models(
    environment: CallEnvironment,
    policy: CompiledPolicy,
    claims: LeaseClaims,
    wire_format: WireFormat,
) -> bytes:
    """The list."""
    names = set(policy.models(claims, wire_format))
    try:
        routes = policy.open_routes(claims, wire_format)
    except AccessDenied:
        routes = ()
    for at, (patterns, targets) in enumerate(routes):
        if not any("*" in pattern for pattern in patterns):
            continue
        earlier = [pattern for others, _ in routes[:at] for pattern in others]
        for target in targets:
            for name in await _served(environment, target, wire_format):
                taken = any(matches(pattern, name) for pattern in earlier)
                if taken or not any(matches(pattern, name) for pattern in patterns):
                    continue
                if policy.covers(claims, name):
                    names.add(name)
    return _rendered(sorted(names), wire_format)


async def _served(
    environment: CallEnvironment, target: ResolvedTarget, wire_format: WireFormat
) -> tuple[str, ...]:
    if target.model:
        return ()  # callers use another name than the provider's
    try:
        environment.revocations.check_credential(target.credential.id)
    except LeaseRevoked:
        return ()
    return await environment.models.names(
        target.credential, target.pool, target.prefix, wire_format
    )


def one_model(
    policy: CompiledPolicy, claims: LeaseClaims, wire_format: WireFormat, model: str
) -> bytes:
    """One model; raises ``PathNotFound`` when the lease may not use it."""
    # A model that only a pattern covers may be in no list, and may be used all the same.
    if model not in policy.models(claims, wire_format) and not policy.allows(
        claims, model, wire_format
    ):
        raise PathNotFound(
            "Your lease does not cover a model of this name.",
            advice="GET /v1/models lists what it covers.",
        )
    render = _openai if wire_format is WireFormat.OPENAI else _anthropic
    return msgspec.json.encode(render(model))


def _rendered(names: list[str], wire_format: WireFormat) -> bytes:
    if wire_format is WireFormat.OPENAI:
        data = [_openai(name) for name in names]
        return msgspec.json.encode({"object": "list", "data": data})
    return msgspec.json.encode(
        {
            "data": [_anthropic(name) for name in names],
            "has_more": False,
            "first_id": names[0] if names else None,
            "last_id": names[-1] if names else None,
        }
    )


def _openai(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "keylease"}


def _anthropic(name: str) -> dict[str, object]:
    return {"type": "model", "id": name, "display_name": name, "created_at": _NO_DATE}
