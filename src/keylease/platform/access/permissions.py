"""Permissions: ``resource:action``.

The grammar, which a test holds: both are lower-case words joined by underscores; ``action`` is one
of ``ACTIONS``. Stored in roles and API keys: append-only, never renamed. What could do great harm
has a permission of its own (see ``DANGEROUS``) and is never part of a wider one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

ACTIONS: Final = (
    "read",
    "manage",
    "use",
    "write",
    "export",
    "publish",
    "exchange",
    "approve",
    "revoke",
    "ingest",
)


class Permission(StrEnum):
    """Everything that can be allowed."""

    ORGANIZATION_READ = "organization:read"
    ORGANIZATION_MANAGE = "organization:manage"
    PROJECT_READ = "project:read"
    PROJECT_MANAGE = "project:manage"
    PRINCIPAL_READ = "principal:read"
    PRINCIPAL_MANAGE = "principal:manage"
    ACCESS_READ = "access:read"
    ACCESS_MANAGE = "access:manage"
    API_KEY_READ = "api_key:read"
    API_KEY_MANAGE = "api_key:manage"
    SESSION_READ = "session:read"
    SESSION_REVOKE = "session:revoke"
    SIGN_IN_MANAGE = "sign_in:manage"
    CREDENTIAL_READ = "credential:read"
    CREDENTIAL_MANAGE = "credential:manage"
    CREDENTIAL_USE = "credential:use"
    POLICY_READ = "policy:read"
    POLICY_MANAGE = "policy:manage"
    POLICY_APPROVE = "policy:approve"
    POLICY_PUBLISH = "policy:publish"
    LEASE_EXCHANGE = "lease:exchange"
    LEASE_REVOKE = "lease:revoke"
    GATEWAY_READ = "gateway:read"
    GATEWAY_MANAGE = "gateway:manage"
    CALL_READ = "call:read"
    AUDIT_READ = "audit:read"
    AUDIT_EXPORT = "audit:export"
    INVENTORY_READ = "inventory:read"
    INVENTORY_MANAGE = "inventory:manage"
    INVENTORY_WRITE = "inventory:write"
    """What a scanner that only pushes has."""
    TRACE_READ = "trace:read"
    TRACE_WRITE = "trace:write"
    TRACE_INGEST = "trace:ingest"
    """What an ingest key has, and nothing besides."""
    TRACE_MANAGE = "trace:manage"
    """Retention, masking, prices, and removal for good."""
    TRACE_EXPORT = "trace:export"
    """Whole projects as files: prompts and answers in bulk."""
    TRUST_READ = "trust:read"

    @property
    def resource(self) -> str:
        """What it is about: the part before the colon."""
        return self.value.partition(":")[0]


INGEST: Final = frozenset({Permission.TRACE_INGEST, Permission.INVENTORY_WRITE})
"""What an ingest key may hold at all."""

DANGEROUS: Final = frozenset(
    {
        Permission.CREDENTIAL_USE,
        Permission.AUDIT_EXPORT,
        Permission.TRACE_EXPORT,
        Permission.POLICY_PUBLISH,
        Permission.POLICY_APPROVE,
        Permission.LEASE_EXCHANGE,
    }
)
"""Given one by one; the console asks again."""
