"""AI vendors that store keys: Braintrust, LangSmith, Langfuse, LiteLLM, OpenRouter.

Sources: Braintrust's OpenAPI document of 2026-07-01; docs.langchain.com; Langfuse's API reference;
LiteLLM's documentation; openrouter.ai/docs.
"""

from __future__ import annotations

from keylease.simulator.systems.system import PAGE, Answered, Asked, Entry

_MISSING = Answered(404, {"error": "not found"})


def braintrust(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """``container`` is ``ai_secret`` or ``env_var``."""
    if asked.parts[0] != "v1" or asked.parts[-1] not in {"ai_secret", "env_var"}:
        return _MISSING
    held = [entry for entry in entries if entry.container == asked.parts[-1]]
    limit = int(asked.query.get("limit", "100"))
    after = asked.query.get("starting_after", "")
    start = next((n + 1 for n, entry in enumerate(held) if f"id-{entry.name}" == after), 0)
    return Answered(
        200,
        {
            "objects": [
                {
                    "id": f"id-{entry.name}",
                    "name": entry.name,
                    "type": entry.provider,
                    "created": entry.created,
                    "preview_secret": entry.preview,
                    "secret_updated_at": entry.changed,
                    "secret_updated_by_user_id": "018f0000-0000-7000-8000-00000000beef",
                }
                for entry in held[start : start + limit]
            ]
        },
    )


def langsmith(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """Keys only."""
    if asked.parts != ("api", "v1", "workspaces", "current", "secrets"):
        return _MISSING
    return Answered(200, [{"key": entry.name} for entry in entries])


def langfuse(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """Connections, by numbered pages."""
    if asked.parts != ("api", "public", "llm-connections"):
        return _MISSING
    number = asked.page()
    shown = entries[(number - 1) * PAGE : number * PAGE]
    return Answered(
        200,
        {
            "data": [
                {
                    "provider": entry.name,
                    "adapter": entry.provider,
                    "displaySecretKey": entry.preview,
                    "createdAt": entry.created,
                    "updatedAt": entry.changed,
                }
                for entry in shown
            ],
            "meta": {
                "page": number,
                "limit": PAGE,
                "totalItems": len(entries),
                "totalPages": -(-len(entries) // PAGE),
            },
        },
    )


def litellm(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """Credentials with what they are for."""
    if asked.parts != ("credentials",):
        return _MISSING
    return Answered(
        200,
        {
            "success": True,
            "credentials": [
                {
                    "credential_name": entry.name,
                    "credential_values": {},
                    "credential_info": {"custom_llm_provider": entry.provider},
                }
                for entry in entries
            ],
        },
    )


def openrouter(entries: tuple[Entry, ...], asked: Asked) -> Answered:
    """Keys that were brought along."""
    if asked.parts != ("api", "v1", "byok"):
        return _MISSING
    return Answered(
        200,
        {
            "data": [
                {
                    "id": f"byok-{entry.name}",
                    "name": entry.name,
                    "provider": entry.provider,
                    "created_at": entry.created,
                }
                for entry in entries
            ]
        },
    )
