"""Wire types of the directory."""

from __future__ import annotations

from typing import Annotated, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from keylease.platform.identity.directory.contacts import ContactContent
from keylease.platform.identity.directory.invitations import (
    DEFAULT_DAYS,
    MAXIMUM_DAYS,
    InvitationContent,
)
from keylease.platform.identity.directory.offboarding import Holdings, Offboarded
from keylease.platform.identity.directory.projects import EnvironmentContent
from keylease.platform.identity.directory.records import Topic
from keylease.platform.identity.directory.service_accounts import AccountContent
from keylease.platform.identity.directory.shelf import Content

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
MEMBER = f"^(user|service_account|group):{_UUID}$"
Identifier = Annotated[str, Field(pattern=f"^{_UUID}$", max_length=36)]
OptionalIdentifier = Annotated[str, Field(pattern=f"^({_UUID})?$", max_length=36)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Text = Annotated[str, Field(max_length=500, pattern=_NO_CONTROLS)]
PersonName = Annotated[str, Field(max_length=100, pattern=_NO_CONTROLS)]
Email = Annotated[str, Field(min_length=3, max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
_Moment = Annotated[int, Field(description="Microseconds UTC.")]
_Maybe = Annotated[int | None, Field(description="Microseconds UTC.")]


class _In(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Out(BaseModel):
    """Fields that bear the names of a record's, and only those."""

    @classmethod
    def of(cls, record: msgspec.Struct) -> Self:
        """From the service. What the record has besides is left out."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})


# --- organizations, projects, environments -------------------------------------------------


class OrganizationIn(_In):
    """What an organization becomes."""

    name: Name
    second_approver: bool = Field(
        description="Whether a policy change that widens access needs a second person."
    )


class OrganizationOut(_Out):
    """A tenant."""

    id: str
    name: str
    second_approver: bool
    created_at: _Moment
    version: int


class NamedIn(_In):
    """A name, and what it stands for."""

    name: Name
    description: Text = ""

    def content(self) -> Content:
        """For the service."""
        return Content(name=self.name, description=self.description)


class ProjectOut(_Out):
    """A part of an organization."""

    id: str
    name: str
    description: str
    created_at: _Moment
    archived_at: _Maybe
    version: int


class EnvironmentIn(_In):
    """An environment to make, or what one becomes."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$", max_length=64)]
    description: Text = ""
    production: bool = False

    def content(self) -> EnvironmentContent:
        """For the service."""
        return EnvironmentContent(
            name=self.name, description=self.description, production=self.production
        )


class EnvironmentOut(_Out):
    """Where credentials are used."""

    id: str
    name: str
    description: str
    production: bool
    created_at: _Moment
    archived_at: _Maybe
    version: int


# --- people and programs -------------------------------------------------------------------


class UserIn(_In):
    """Who a user is."""

    name: Name
    email: Email


class UserOut(_Out):
    """A user. Name and address are empty once they were erased."""

    id: str
    name: str
    email: str
    state: str
    state_since: _Moment
    created_at: _Moment
    version: int


class OffboardIn(_In):
    """How somebody leaves."""

    hand_over_to: Identifier = Field(description="The user who gets what the leaving one owns.")


class HoldingOut(_Out):
    """Something that a user holds or owns, and what becomes of it when they leave."""

    kind: str
    id: str
    label: str
    outcome: str


class SightingOut(_Out):
    """Something that a user was shown and may remember."""

    at: _Moment
    action: str
    object: str


class HoldingsOut(BaseModel):
    """What a user holds and owns, and what they were shown."""

    user: UserOut
    held: list[HoldingOut]
    seen: list[SightingOut] = Field(description="The newest first; the audit log has more.")

    @classmethod
    def of(cls, found: Holdings) -> Self:
        """From the service."""
        return cls(
            user=UserOut.of(found.user),
            held=[HoldingOut.of(holding) for holding in found.held],
            seen=[SightingOut.of(sighting) for sighting in found.seen],
        )


class OffboardedOut(BaseModel):
    """What was revoked and handed over."""

    user: UserOut
    released: list[HoldingOut]

    @classmethod
    def of(cls, done: Offboarded) -> Self:
        """From the service."""
        return cls(
            user=UserOut.of(done.user),
            released=[HoldingOut.of(holding) for holding in done.released],
        )


class ServiceAccountIn(_In):
    """A service account to make, or what one becomes."""

    name: Name
    description: Text = ""
    owner_id: OptionalIdentifier = Field(
        default="", description="The user who answers for it; empty is the caller."
    )

    def content(self, *, caller_id: str) -> AccountContent:
        """For the service."""
        return AccountContent(
            name=self.name, description=self.description, owner_id=self.owner_id or caller_id
        )


class ServiceAccountOut(_Out):
    """A program that acts for itself."""

    id: str
    name: str
    description: str
    owner_id: str
    created_at: _Moment
    archived_at: _Maybe
    version: int


# --- groups --------------------------------------------------------------------------------


class GroupOut(_Out):
    """Principals and groups that are given rights together."""

    id: str
    name: str
    description: str
    created_at: _Moment
    archived_at: _Maybe
    version: int


class MemberOut(_Out):
    """Who is directly in a group."""

    member: str
    added_at: _Moment
    added_by: str


# --- invitations and contacts --------------------------------------------------------------


class InvitationIn(_In):
    """Who is invited, and to what."""

    email: Email
    name: PersonName = ""
    group_ids: Annotated[list[Identifier], Field(max_length=50)] = []
    role_id: Annotated[str, Field(pattern=f"^([a-z]{{1,20}}|{_UUID})?$", max_length=36)] = ""
    project_id: Annotated[
        OptionalIdentifier, Field(description="Where the role holds; empty is everywhere.")
    ] = ""
    days: Annotated[int, Field(ge=1, le=MAXIMUM_DAYS)] = DEFAULT_DAYS

    def content(self) -> InvitationContent:
        """For the service."""
        return InvitationContent(
            email=self.email,
            name=self.name,
            group_ids=tuple(dict.fromkeys(self.group_ids)),
            role_id=self.role_id,
            project_id=self.project_id,
            days=self.days,
        )


class InvitationOut(_Out):
    """An invitation. Name and address are kept only while it is open."""

    id: str
    state: str
    name: str
    email: str
    group_ids: list[str]
    role_id: str
    project_id: str
    invited_by: str
    user_id: str
    created_at: _Moment
    expires_at: _Moment
    version: int


class NewInvitationOut(BaseModel):
    """An invitation with its link, which is shown this once."""

    invitation: InvitationOut
    link: str = Field(description="Works once. Send it on a way that only they can read.")


class ContactIn(_In):
    """Whom to tell of what: a user, or an address with a name."""

    topics: Annotated[list[Topic], Field(min_length=1, max_length=10)]
    user_id: OptionalIdentifier = ""
    name: PersonName = ""
    email: Email | None = None

    def content(self) -> ContactContent:
        """For the service."""
        return ContactContent(
            topics=tuple(dict.fromkeys(self.topics)),
            user_id=self.user_id,
            name=self.name,
            email=self.email or "",
        )


class ContactOut(_Out):
    """Whom to tell of what."""

    id: str
    topics: list[str]
    user_id: str
    name: str
    email: str
    created_at: _Moment
    version: int
