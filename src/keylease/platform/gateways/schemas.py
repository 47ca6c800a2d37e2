"""Wire types of gateways and enrolment codes."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from keylease.platform.gateways.gateway import (
    CodeState,
    Gateway,
    GatewayState,
    GroupState,
    StoredCode,
)
from keylease.platform.gateways.service import (
    DEFAULT_CODE_SECONDS,
    LONGEST_CODE_SECONDS,
    MintedCode,
)

Moment = Annotated[int, Field(description="Microseconds since 1970, UTC.")]
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class NewEnrolmentCode(BaseModel):
    """What a code is made for."""

    model_config = ConfigDict(extra="forbid")
    group: GroupName = Field(
        default="local",
        description="The gateway group that it joins: `group` of the gateway's gateway.toml.",
    )
    lifetime_seconds: int = Field(default=DEFAULT_CODE_SECONDS, ge=60, le=LONGEST_CODE_SECONDS)


class EnrolmentCodeOut(BaseModel):
    """An enrolment code without its text."""

    id: str
    group: str
    state: CodeState
    created_by: str
    created_at: Moment
    expires_at: Moment
    used_at: Moment | None
    gateway_id: str | None = Field(description="The gateway that was enrolled with it.")

    @classmethod
    def of(cls, code: StoredCode, *, now: int) -> Self:
        """As it is at ``now``."""
        return cls(
            id=code.id,
            group=code.group,
            state=code.state(now),
            created_by=code.created_by,
            created_at=code.created_at,
            expires_at=code.expires_at,
            used_at=code.used_at,
            gateway_id=code.gateway_id,
        )


class MintedEnrolmentCode(EnrolmentCodeOut):
    """A new code: the only time that its text is shown."""

    code: str = Field(description="For `keylease gateway enroll CODE`; shown once.")

    @classmethod
    def minted(cls, code: MintedCode) -> Self:
        """With the text."""
        plain = EnrolmentCodeOut.of(code.stored, now=code.stored.created_at)
        return cls(**plain.model_dump(), code=code.text)


class ObjectionOut(BaseModel):
    """Something in the policy that a gateway does not serve."""

    object_id: str
    code: str


class RefusedBundleOut(BaseModel):
    """A bundle that a gateway did not take."""

    digest: str
    code: str
    at: Moment


class GatewayOut(BaseModel):
    """A gateway."""

    id: str
    name: str
    group: str
    state: GatewayState
    version: int
    enrolled_at: Moment
    enrolled_with: str = Field(description="Id of the enrolment code.")
    revoked_at: Moment | None
    revoked_by: str
    last_seen: Moment | None
    started_at: Moment | None
    software: str
    link: int = Field(description="The version of the link that it speaks.")
    policy_version: int = Field(description="The bundle version that all its workers decide by.")
    policy_expires_at: Moment | None = Field(
        description="Until when it serves that with no platform in reach."
    )
    refused: RefusedBundleOut | None = Field(description="The last bundle, if it was not taken.")
    objections: list[ObjectionOut] = Field(
        description="Parts of the policy that its gateway.toml, or its version, does not serve."
    )
    waiting_call_record_bytes: int
    waiting_audit_entries: int
    lost_call_records: int
    witnessed_size: int = Field(description="Entries of the audit log that it has witnessed.")

    @classmethod
    def of(cls, gateway: Gateway) -> Self:
        """As it was heard of last."""
        report = gateway.report
        refused = report.refused if report is not None else None
        return cls(
            id=gateway.id,
            name=gateway.name,
            group=gateway.group,
            state=gateway.state,
            version=gateway.version,
            enrolled_at=gateway.enrolled_at,
            enrolled_with=gateway.enrolled_with,
            revoked_at=gateway.revoked_at,
            revoked_by=gateway.revoked_by,
            last_seen=gateway.last_seen,
            started_at=report.started_at if report is not None else None,
            software=gateway.software,
            link=gateway.link,
            policy_version=gateway.policy_version,
            policy_expires_at=(report.in_force.expires_at or None) if report is not None else None,
            refused=RefusedBundleOut(digest=refused.digest, code=refused.code, at=refused.at)
            if refused is not None
            else None,
            objections=[
                ObjectionOut(object_id=item.object_id, code=item.code)
                for item in (report.objections if report is not None else ())
            ],
            waiting_call_record_bytes=report.backlog.call_record_bytes if report else 0,
            waiting_audit_entries=report.backlog.audit_entries if report else 0,
            lost_call_records=report.backlog.call_records_lost if report else 0,
            witnessed_size=report.witnessed.size if report else 0,
        )


class GatewayChange(BaseModel):
    """What of a gateway people change."""

    model_config = ConfigDict(extra="forbid")
    name: str = Field(min_length=1, max_length=200)


class GatewayGroupOut(BaseModel):
    """How a gateway group is doing with its policy."""

    name: str
    gateways: int
    connected: int = Field(description="Heard of within two minutes.")
    lowest_link: int
    policy_version: int = Field(description="The highest that any gateway of it has in force.")
    in_force: int = Field(description="How many gateways have that one.")
    refusing: int = Field(description="How many refused the last bundle they were given.")

    @classmethod
    def of(cls, state: GroupState) -> Self:
        """As it is now."""
        return cls(
            name=state.name,
            gateways=state.gateways,
            connected=state.connected,
            lowest_link=state.lowest_link,
            policy_version=state.policy_version,
            in_force=state.in_force,
            refusing=state.refusing,
        )


class GatewayGroups(BaseModel):
    """Every gateway group that has a gateway."""

    groups: list[GatewayGroupOut]
