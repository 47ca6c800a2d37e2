"""Roles: named sets of permissions. Six are built in; an organization adds its own.

Built-in roles are code, so that a new permission finds its place in review and not in a migration.
Dangerous permissions are granted one by one: only Owner, the root from which everything is given,
holds them by a role. Nobody could give them otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

import msgspec

from keylease.platform.access.permissions import DANGEROUS, Permission


class BuiltInRole(StrEnum):
    """Identifiers of the built-in roles; stored in grants, never renamed."""

    OWNER = "owner"
    ADMIN = "admin"
    ENGINEER = "engineer"
    REVIEWER = "reviewer"
    VIEWER = "viewer"
    AUDITOR = "auditor"


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A named set of permissions."""

    id: str
    name: str
    description: str
    permissions: frozenset[Permission]
    built_in: bool = False
    version: int = 1


OWNER_ONLY: Final = frozenset({Permission.ORGANIZATION_MANAGE, Permission.SIGN_IN_MANAGE})
"""Whoever says how people sign in can sign in as anybody, so this is the Owner's."""

_VIEWER: Final = frozenset(
    {
        Permission.ORGANIZATION_READ,
        Permission.PROJECT_READ,
        Permission.PRINCIPAL_READ,
        Permission.CREDENTIAL_READ,
        Permission.POLICY_READ,
        Permission.GATEWAY_READ,
        Permission.CALL_READ,
        Permission.INVENTORY_READ,
        Permission.TRACE_READ,
        Permission.TRUST_READ,
    }
)
_AUDITOR: Final = frozenset(
    {
        Permission.ORGANIZATION_READ,
        Permission.PROJECT_READ,
        Permission.PRINCIPAL_READ,
        Permission.ACCESS_READ,
        Permission.API_KEY_READ,
        Permission.SESSION_READ,
        Permission.CREDENTIAL_READ,
        Permission.POLICY_READ,
        Permission.GATEWAY_READ,
        Permission.AUDIT_READ,
        Permission.INVENTORY_READ,
        Permission.TRUST_READ,
    }
)
"""No prompts and answers: an auditor reads who did what, not what was said."""


def _built_in(role: BuiltInRole, description: str, permissions: frozenset[Permission]) -> Role:
    return Role(
        id=role.value,
        name=role.value.capitalize(),
        description=description,
        permissions=permissions,
        built_in=True,
    )


BUILT_IN: Final[Mapping[str, Role]] = {
    role.id: role
    for role in (
        _built_in(
            BuiltInRole.OWNER,
            "Everything, dangerous permissions included. An organization always has one.",
            frozenset(Permission),
        ),
        _built_in(
            BuiltInRole.ADMIN,
            "Runs the organization; how people sign in and what is dangerous stay the Owner's.",
            frozenset(Permission) - DANGEROUS - OWNER_ONLY,
        ),
        _built_in(
            BuiltInRole.ENGINEER,
            "Builds with it: reads what there is, writes traces and inventory, drafts policy.",
            _VIEWER
            | {
                Permission.POLICY_MANAGE,
                Permission.INVENTORY_WRITE,
                Permission.TRACE_WRITE,
                Permission.TRACE_INGEST,
            },
        ),
        _built_in(
            BuiltInRole.REVIEWER,
            "Reads traces and calls, and writes judgements on them.",
            _VIEWER | {Permission.TRACE_WRITE},
        ),
        _built_in(BuiltInRole.VIEWER, "Looks, and changes nothing.", _VIEWER),
        _built_in(
            BuiltInRole.AUDITOR,
            "Reads the audit log, the inventory and who may do what; changes nothing.",
            _AUDITOR,
        ),
    )
}


def known_permissions(texts: list[str]) -> frozenset[Permission]:
    """The permissions among stored texts. One that a newer program wrote gives nothing here."""
    return frozenset(Permission(text) for text in texts if text in _KNOWN)


_KNOWN: Final = frozenset(permission.value for permission in Permission)
