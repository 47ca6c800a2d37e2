"""What the directory holds, as its readers see it."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Organization(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant: the boundary of data and grants."""

    id: str
    name: str
    second_approver: bool
    """Whether a policy change that widens access needs a second person."""
    created_at: int
    version: int


class Project(msgspec.Struct, frozen=True, kw_only=True):
    """A part of an organization; boundary of traces, datasets and grants."""

    id: str
    name: str
    description: str
    created_at: int
    archived_at: int | None
    version: int


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where credentials are used: ``dev``, ``staging``, ``prod``."""

    id: str
    name: str
    description: str
    production: bool
    created_at: int
    archived_at: int | None
    version: int


class UserState(StrEnum):
    """Stored; never renamed."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    """Cannot act; can be resumed with everything as it was."""
    OFFBOARDED = "offboarded"
    """Has left, for good."""


class User(msgspec.Struct, frozen=True, kw_only=True):
    """A person who signs in. ``name`` and ``email`` are empty once they were erased."""

    id: str
    organization_id: str
    state: UserState
    state_since: int
    created_at: int
    version: int
    name: str = ""
    email: str = ""


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """A program that acts with API keys of its own; a user answers for it."""

    id: str
    name: str
    description: str
    owner_id: str
    created_at: int
    archived_at: int | None
    version: int


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Users, service accounts and other groups that are given rights together."""

    id: str
    name: str
    description: str
    created_at: int
    archived_at: int | None
    version: int


class GroupMember(msgspec.Struct, frozen=True, kw_only=True):
    """Who is directly in a group."""

    member: str
    """``user:ID``, ``service_account:ID`` or ``group:ID``."""
    added_at: int
    added_by: str


class InvitationState(StrEnum):
    """Stored; never renamed. One that is over its time is still pending here."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REVOKED = "revoked"


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody was offered. ``name`` and ``email`` are kept only while it is pending."""

    id: str
    organization_id: str
    state: InvitationState
    group_ids: tuple[str, ...]
    role_id: str
    project_id: str
    invited_by: str
    user_id: str
    """Who it became; empty until it is accepted."""
    created_at: int
    expires_at: int
    version: int
    name: str = ""
    email: str = ""


class Topic(StrEnum):
    """What a contact is told of. Stored; never renamed."""

    SECURITY = "security"
    """Incidents, keys found, witnesses that disagree."""
    ROTATION = "rotation"
    """Credentials that are overdue, campaigns that need a hand."""
    BUDGET = "budget"
    AVAILABILITY = "availability"


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to tell. Either a user, at that user's address, or an address of its own."""

    id: str
    topics: tuple[Topic, ...]
    user_id: str
    created_at: int
    version: int
    name: str = ""
    email: str = ""
