"""A gateway and an enrolment code, as this domain thinks of them."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from keylease.contracts.platform_link import PollRequest
from keylease.contracts.principals import Principal, PrincipalKind
from keylease.platform.db.callers import Caller


class GatewayState(StrEnum):
    """Where a gateway is in its life."""

    ENROLLED = "enrolled"
    REVOKED = "revoked"


class Gateway(msgspec.Struct, frozen=True, kw_only=True):
    """A registered gateway."""

    id: str
    organization_id: str
    group: str
    name: str
    public_key: bytes
    version: int = 1
    enrolled_at: int
    """Microseconds UTC, as every time here."""
    enrolled_with: str
    """Id of the enrolment code."""
    revoked_at: int | None = None
    revoked_by: str = ""
    last_seen: int | None = None
    link: int
    software: str
    policy_version: int = 0
    """The highest that it has had in force."""
    report: PollRequest | None = None
    """What it said last."""
    witness_key: str = ""

    @property
    def state(self) -> GatewayState:
        """Where it is in its life."""
        return GatewayState.ENROLLED if self.revoked_at is None else GatewayState.REVOKED

    @property
    def caller(self) -> Caller:
        """The gateway as the one who acts."""
        return Caller(
            principal=Principal(PrincipalKind.GATEWAY, self.id),
            organization_id=self.organization_id,
        )


class CodeState(StrEnum):
    """Whether a code still opens something."""

    OPEN = "open"
    USED = "used"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class StoredCode(msgspec.Struct, frozen=True, kw_only=True):
    """An enrolment code without its text."""

    id: str
    organization_id: str
    group: str
    digest: str
    created_by: str
    created_at: int
    expires_at: int
    used_at: int | None = None
    withdrawn_at: int | None = None
    gateway_id: str | None = None

    def state(self, now: int) -> CodeState:
        """Whether it opens something at ``now``."""
        if self.used_at is not None:
            return CodeState.USED
        if self.withdrawn_at is not None:
            return CodeState.WITHDRAWN
        return CodeState.EXPIRED if self.expires_at <= now else CodeState.OPEN


class GroupState(msgspec.Struct, frozen=True, kw_only=True):
    """How a gateway group is doing with its policy."""

    name: str
    gateways: int
    connected: int
    """That were heard of within two minutes."""
    lowest_link: int
    policy_version: int
    """The highest that any of them has in force."""
    in_force: int
    """How many have that one."""
    refusing: int
    """How many refused the last bundle they were given."""
