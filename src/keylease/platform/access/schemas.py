"""Wire types of access."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from keylease.platform.access.decisions import Decision
from keylease.platform.access.grants import Grant, NewGrant
from keylease.platform.access.permissions import DANGEROUS, Permission
from keylease.platform.access.places import Place
from keylease.platform.access.reasons import advice_for, roles_with, sentence_for
from keylease.platform.access.role_service import RoleContent
from keylease.platform.access.roles import Role
from keylease.platform.access.snapshot import FOREVER, Snapshot

_LATEST = 253_402_300_799_999_999
"""The end of the year 9999, the last that RFC 3339 can write."""
UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
HOLDER = f"^(user|service_account|group):{UUID}$"
PRINCIPAL = f"^(user|service_account):{UUID}$"
OBJECT = f"^[a-z_]{{1,40}}/{UUID}$"
ROLE_ID = f"^([a-z]{{1,20}}|{UUID})$"
_NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
Moment = Annotated[int, Field(ge=0, le=_LATEST, description="Microseconds UTC.")]
Identifiers = Annotated[str, Field(pattern=f"^({UUID})?$", max_length=36)]
Name = Annotated[str, Field(min_length=1, max_length=100, pattern=_NO_CONTROLS)]
Text = Annotated[str, Field(max_length=500, pattern=_NO_CONTROLS)]


class PermissionOut(BaseModel):
    """Something that can be allowed."""

    permission: str
    dangerous: bool = Field(description="Granted one by one; no part of a role but Owner.")

    @classmethod
    def of(cls, permission: Permission) -> Self:
        """From the list."""
        return cls(permission=permission.value, dangerous=permission in DANGEROUS)


class RoleIn(BaseModel):
    """A role to make, or what one becomes."""

    model_config = ConfigDict(extra="forbid")
    name: Name
    description: Text = ""
    permissions: Annotated[list[Permission], Field(min_length=1, max_length=200)]

    def content(self) -> RoleContent:
        """For the service."""
        return RoleContent(
            name=self.name,
            description=self.description,
            permissions=frozenset(self.permissions),
        )


class RoleOut(BaseModel):
    """A named set of permissions."""

    id: str
    name: str
    description: str
    permissions: list[str]
    built_in: bool
    version: int

    @classmethod
    def of(cls, role: Role) -> Self:
        """From the service."""
        return cls(
            id=role.id,
            name=role.name,
            description=role.description,
            permissions=sorted(role.permissions),
            built_in=role.built_in,
            version=role.version,
        )


class RolesOut(BaseModel):
    """Every role, the built-in ones first."""

    items: list[RoleOut]


class GrantIn(BaseModel):
    """A grant to give: of a role or of one permission."""

    model_config = ConfigDict(extra="forbid")
    holder: Annotated[
        str,
        Field(
            pattern=HOLDER, max_length=60, description="`user:ID`, `service_account:ID`, `group:ID`"
        ),
    ]
    role_id: Annotated[str, Field(pattern=ROLE_ID, max_length=36)] | None = None
    permission: Permission | None = None
    project_id: Annotated[
        Identifiers, Field(description="Where it holds; empty is the whole organization.")
    ] = ""
    object: Annotated[
        str, Field(pattern=f"^({OBJECT[1:-1]})?$", max_length=80, description="`KIND/ID`")
    ] = ""
    starts_at: Moment | None = None
    ends_at: Moment | None = None
    reason: Text = ""

    def content(self) -> NewGrant:
        """For the service."""
        return NewGrant(
            holder=self.holder,
            role_id=self.role_id or "",
            permission=self.permission.value if self.permission else "",
            place=Place(project_id=self.project_id, object=self.object),
            starts_at=self.starts_at,
            ends_at=self.ends_at,
            reason=self.reason,
        )


class GrantOut(BaseModel):
    """Who holds what, where, from when to when."""

    id: str
    holder: str
    role_id: str
    permission: str
    project_id: str
    object: str
    starts_at: int
    ends_at: int | None
    given_by: str
    given_at: int
    reason: str
    revoked_at: int | None
    revoked_by: str
    version: int

    @classmethod
    def of(cls, grant: Grant) -> Self:
        """From the service."""
        return cls(
            id=grant.id,
            holder=grant.holder,
            role_id=grant.role_id,
            permission=grant.permission,
            project_id=grant.place.project_id,
            object=grant.place.object,
            starts_at=grant.starts_at,
            ends_at=grant.ends_at,
            given_by=grant.given_by,
            given_at=grant.given_at,
            reason=grant.reason,
            revoked_at=grant.revoked_at,
            revoked_by=grant.revoked_by,
            version=grant.version,
        )


class DecidingGrantOut(BaseModel):
    """The grant that allows it, or that nearly did."""

    id: str
    holder: str
    role_id: str
    permission: str
    project_id: str
    object: str
    starts_at: int
    ends_at: int | None


class ExplanationOut(BaseModel):
    """Whether a principal may do something, and why."""

    principal: str
    permission: str
    project_id: str
    object: str
    allowed: bool
    reason: str = Field(description="Stable: `granted`, `not_granted`, `elsewhere`, `ended` ...")
    sentence: str
    grant: DecidingGrantOut | None
    via: list[str] = Field(description="The groups by which it is held, the nearest first.")
    roles: list[str] = Field(description="Roles that would give it there, the narrowest first.")
    advice: str

    @classmethod
    def of(cls, decision: Decision, snapshot: Snapshot) -> Self:
        """From the service."""
        question, grant = decision.question, decision.grant
        return cls(
            principal=question.principal,
            permission=question.permission.value,
            project_id=question.place.project_id,
            object=question.place.object,
            allowed=decision.allowed,
            reason=decision.reason.value,
            sentence=sentence_for(decision),
            grant=None
            if grant is None
            else DecidingGrantOut(
                id=grant.id,
                holder=grant.holder,
                role_id=grant.role_id,
                permission=grant.permission,
                project_id=grant.place.project_id,
                object=grant.place.object,
                starts_at=grant.starts_at,
                ends_at=None if grant.ends_at == FOREVER else grant.ends_at,
            ),
            via=list(decision.via),
            roles=roles_with(decision, snapshot),
            advice="" if decision.allowed else advice_for(decision, snapshot),
        )
