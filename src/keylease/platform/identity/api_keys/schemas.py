"""Wire types of API keys."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from keylease.contracts.api_keys import ApiKeyKind
from keylease.platform.identity.api_keys.interfaces import DEFAULT_DAYS, LONGEST_GRACE, NewApiKey
from keylease.platform.identity.sign_in.interfaces import LONGEST_KEY_DAYS
from keylease.platform.identity.wire import (
    In,
    Label,
    MaybeMoment,
    Moment,
    OptionalIdentifier,
    Out,
)

PrincipalText = Annotated[
    str,
    StringConstraints(
        pattern="^((user|service_account):[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12})?$",
        max_length=60,
    ),
]


class NewApiKeyIn(In):
    """An API key that is wanted."""

    name: Label
    permissions: Annotated[
        list[Annotated[str, StringConstraints(max_length=64)]], Field(min_length=1, max_length=100)
    ]
    kind: ApiKeyKind = ApiKeyKind.API
    principal: PrincipalText = Field(
        default="", description="A service account; left out, it is the caller."
    )
    project_id: OptionalIdentifier = ""
    days: int = Field(
        default=DEFAULT_DAYS,
        ge=1,
        le=LONGEST_KEY_DAYS,
        description="Until it expires; the organization's maximum holds.",
    )

    def content(self) -> NewApiKey:
        """For the service."""
        return NewApiKey(
            name=self.name,
            permissions=tuple(self.permissions),
            kind=self.kind,
            principal=self.principal,
            project_id=self.project_id,
            days=self.days,
        )


class ApiKeyOut(Out):
    """An API key, without its text."""

    id: str
    principal: str
    kind: ApiKeyKind
    name: str
    hint: str = Field(description="The beginning of its text.")
    permissions: list[str]
    project_id: str
    created_by: str
    created_at: Moment
    rotated_at: MaybeMoment
    expires_at: Moment
    used_at: MaybeMoment = Field(description="Some minutes behind; null is never.")
    previous_expires_at: MaybeMoment = Field(
        description="Until when the text before the last rotation is good; null when it is not."
    )
    revoked_at: MaybeMoment
    version: int


class ShownApiKeyOut(Out):
    """A key and its text, which is shown this once."""

    key: ApiKeyOut
    text: str


class RotationIn(In):
    """How long the previous text goes on."""

    model_config = ConfigDict(extra="forbid", validate_by_name=True, validate_by_alias=True)

    grace_period_seconds: int = Field(default=0, ge=0, le=LONGEST_GRACE, alias="gracePeriodSeconds")
