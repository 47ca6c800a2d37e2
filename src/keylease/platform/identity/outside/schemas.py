"""Wire types of outside issuers."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from keylease.platform.identity.outside.interfaces import IssuerContent
from keylease.platform.identity.wire import NO_CONTROLS, Identifier, In, Label, Moment, Out

_Text = Annotated[str, StringConstraints(min_length=1, max_length=500, pattern=NO_CONTROLS)]


class IssuerIn(In):
    """An OpenID Connect issuer that may say who somebody is."""

    name: Label
    issuer: _Text = Field(description="Its URL, exactly as its tokens have it.")
    client_id: _Text
    client_secret: Annotated[str, StringConstraints(max_length=2000)] | None = Field(
        default=None,
        description="Kept sealed and never shown; left out, the one there is stays.",
    )
    groups_claim: Annotated[str, StringConstraints(max_length=200, pattern=NO_CONTROLS)] = ""
    groups: Annotated[dict[_Text, Identifier], Field(max_length=500)] = Field(
        default_factory=dict, description="Value of the claim -> identifier of a group here."
    )
    adds_users: bool = False
    sees_to_second_factor: bool = False

    def content(self) -> IssuerContent:
        """For the service, without the secret."""
        return IssuerContent(
            name=self.name,
            issuer=self.issuer,
            client_id=self.client_id,
            groups_claim=self.groups_claim,
            groups=dict(self.groups),
            adds_users=self.adds_users,
            sees_to_second_factor=self.sees_to_second_factor,
        )


class IssuerOut(Out):
    """An issuer, without its client secret."""

    id: str
    name: str
    issuer: str
    client_id: str
    has_client_secret: bool
    groups_claim: str
    groups: dict[str, str]
    adds_users: bool
    sees_to_second_factor: bool
    created_at: Moment
    version: int
