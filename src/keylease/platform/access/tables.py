"""The tables of access. Only ``repository.py`` uses them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, Index, String, Table, text

from keylease.platform.db.columns import (
    METADATA,
    document,
    identifier,
    label,
    moment,
    organization,
    version,
)

PRINCIPAL_LENGTH: Final = 100
OBJECT_LENGTH: Final = 100

ACCESS_VERSIONS: Final = Table(
    "access_versions",
    METADATA,
    Column("organization_id", String(36), primary_key=True),
    Column("version", BigInteger, nullable=False),
    Column("directory_version", BigInteger, nullable=False),
)
"""One row per organization. Counting it up is also the lock that puts changes in a row."""

ROLES: Final = Table(
    "roles",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=100),
    label("description", length=500),
    document("permissions"),
    moment("created_at"),
    moment("removed_at", nullable=True),
    version(),
    Index(
        "uq_roles_name",
        "organization_id",
        "name",
        unique=True,
        sqlite_where=text("removed_at IS NULL"),
        postgresql_where=text("removed_at IS NULL"),
    ),
)
"""An organization's own roles. A removed one stays, because old grants refer to it."""

GRANTS: Final = Table(
    "access_grants",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("holder", length=PRINCIPAL_LENGTH),
    label("role_id", length=36),
    label("permission", length=64),
    label("project_id", length=36),
    label("object", length=OBJECT_LENGTH),
    moment("starts_at"),
    moment("ends_at", nullable=True),
    label("given_by", length=PRINCIPAL_LENGTH),
    moment("given_at"),
    label("reason", length=500),
    moment("revoked_at", nullable=True),
    label("revoked_by", length=PRINCIPAL_LENGTH),
    # The organization's access version at which the row changed last: how caches catch up.
    Column("access_version", BigInteger, nullable=False),
    version(),
    Index("ix_access_grants_version", "organization_id", "access_version"),
    Index("ix_access_grants_holder", "organization_id", "holder"),
    Index("ix_access_grants_role", "organization_id", "role_id"),
)
"""Who holds what, where, from when to when. Empty texts mean "none"; rows are never removed."""
