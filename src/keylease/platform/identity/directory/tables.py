"""The directory's tables. Only ``repository.py`` uses them."""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import Boolean, Column, Index, Integer, String, Table, text

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
NAME_LENGTH: Final = 100
TEXT_LENGTH: Final = 500
EMAIL_LENGTH: Final = 254
"""RFC 5321 section 4.5.3.1.3, less the angle brackets."""


def _unique_while_not_archived(table: str) -> Index:
    where: Any = text("archived_at IS NULL")
    return Index(
        f"uq_{table}_name",
        "organization_id",
        "name",
        unique=True,
        sqlite_where=where,
        postgresql_where=where,
    )


INSTALLATION: Final = Table(
    "installation",
    METADATA,
    # Always 1: of two servers that found an organization at once, one fails.
    Column("id", Integer, primary_key=True, autoincrement=False),
    organization(),
    identifier("owner_id"),
    moment("founded_at"),
)
"""Whether somebody has begun to use this installation, and with which organization."""

ORGANIZATIONS: Final = Table(
    "organizations",
    METADATA,
    identifier(primary_key=True),
    # The same as ``id``, so that no query of a tenant's rows has an exception.
    organization(),
    label("name", length=NAME_LENGTH),
    Column("second_approver", Boolean, nullable=False),
    moment("created_at"),
    version(),
)

PROJECTS: Final = Table(
    "projects",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=NAME_LENGTH),
    label("description", length=TEXT_LENGTH),
    moment("created_at"),
    moment("archived_at", nullable=True),
    version(),
    _unique_while_not_archived("projects"),
)

ENVIRONMENTS: Final = Table(
    "environments",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=NAME_LENGTH),
    label("description", length=TEXT_LENGTH),
    Column("production", Boolean, nullable=False),
    moment("created_at"),
    moment("archived_at", nullable=True),
    version(),
    _unique_while_not_archived("environments"),
)

USERS: Final = Table(
    "users",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("state", length=20),
    moment("created_at"),
    moment("state_since"),
    version(),
    Index("ix_users_organization", "organization_id", "id"),
)
"""Opaque identifiers and states. Who they are stands in ``PERSON``."""

PERSON: Final = Table(
    "person",
    METADATA,
    # The identifier of the user, the invitation or the contact.
    identifier(primary_key=True),
    organization(),
    label("kind", length=20),
    label("name", length=NAME_LENGTH),
    label("email", length=EMAIL_LENGTH),
    label("email_key", length=EMAIL_LENGTH, nullable=True),
    Index("uq_person_email", "organization_id", "kind", "email_key", unique=True),
    Index("ix_person_email_key", "email_key"),
)
"""All personal data of the directory: erasing a row here erases somebody. Nothing refers to it."""

SERVICE_ACCOUNTS: Final = Table(
    "service_accounts",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=NAME_LENGTH),
    label("description", length=TEXT_LENGTH),
    identifier("owner_id"),
    moment("created_at"),
    moment("archived_at", nullable=True),
    version(),
    _unique_while_not_archived("service_accounts"),
    Index("ix_service_accounts_owner", "organization_id", "owner_id"),
)

GROUPS: Final = Table(
    "groups",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("name", length=NAME_LENGTH),
    label("description", length=TEXT_LENGTH),
    moment("created_at"),
    moment("archived_at", nullable=True),
    version(),
    _unique_while_not_archived("groups"),
)

GROUP_MEMBERS: Final = Table(
    "group_members",
    METADATA,
    organization(),
    Column("group_id", String(36), primary_key=True),
    Column("member", String(PRINCIPAL_LENGTH), primary_key=True),
    moment("added_at"),
    label("added_by", length=PRINCIPAL_LENGTH),
    Index("ix_group_members_member", "organization_id", "member"),
)
"""``user:ID``, ``service_account:ID`` or ``group:ID`` in a group."""

INVITATIONS: Final = Table(
    "invitations",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("secret_digest", length=64),
    label("state", length=20),
    document("group_ids"),
    label("role_id", length=36),
    label("project_id", length=36),
    label("invited_by", length=PRINCIPAL_LENGTH),
    label("user_id", length=36),
    moment("created_at"),
    moment("expires_at"),
    version(),
    Index("uq_invitations_secret_digest", "secret_digest", unique=True),
    Index("ix_invitations_invited_by", "organization_id", "invited_by"),
)

CONTACTS: Final = Table(
    "contacts",
    METADATA,
    identifier(primary_key=True),
    organization(),
    document("topics"),
    label("user_id", length=36),
    moment("created_at"),
    version(),
    Index("ix_contacts_user", "organization_id", "user_id"),
)
"""Who is told of what. The address is a user's, or stands in ``PERSON``."""
