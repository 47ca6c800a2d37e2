"""Wire types of calls and their totals."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, Field

from keylease.platform.records.calls import StoredCall, Total, TotalsBy

Moment = Annotated[int, Field(description="Microseconds since 1970, UTC.")]


class CallOut(BaseModel):
    """One call through a gateway."""

    id: str = Field(description="The request id that the client saw.")
    gateway_id: str
    trace_id: str
    started_at: Moment
    duration: int = Field(description="Microseconds until the last byte.")
    time_to_first_chunk: int | None = Field(description="Microseconds.")
    principal: str
    project: str
    lease_id: str
    grant_id: str
    purpose: str
    environment: str
    credential_id: str
    credential_version: str = Field(description="Fingerprint of the secret's version.")
    provider: str
    operation: str
    method: str
    path: str
    requested_model: str
    upstream_model: str
    response_model: str
    provider_request_id: str
    status: int
    error: str
    streamed: bool
    retries: int
    client_gone: bool
    input_tokens: int | None
    output_tokens: int | None
    cost: int | None = Field(description="Micro-USD; null when nobody knows.")
    price_version: str
    estimated: bool
    policy_version: int
    input: str | None = Field(description="Masked text, when the policy keeps it.")
    output: str | None

    @classmethod
    def of(cls, call: StoredCall) -> Self:
        """As it was taken."""
        record = call.record
        usage = record.usage
        same = {name: getattr(record, name) for name in cls.model_fields if hasattr(record, name)}
        return cls(
            **same,
            gateway_id=call.gateway_id,
            input_tokens=usage.input_tokens if usage is not None else None,
            output_tokens=usage.output_tokens if usage is not None else None,
        )


class TotalOut(BaseModel):
    """Sums over the calls of one principal, credential, model or day."""

    key: str = Field(description="Principal, credential id, model, or date (UTC).")
    calls: int
    failed: int
    input_tokens: int
    output_tokens: int
    cost: int = Field(description="Micro-USD.")
    cost_unknown: int = Field(description="Calls whose cost is not in `cost`.")

    @classmethod
    def of(cls, total: Total) -> Self:
        """As it is summed."""
        return cls(
            key=total.key,
            calls=total.calls,
            failed=total.failed,
            input_tokens=total.input_tokens,
            output_tokens=total.output_tokens,
            cost=total.cost,
            cost_unknown=total.cost_unknown,
        )


class Totals(BaseModel):
    """Totals, broken down."""

    by: TotalsBy
    items: list[TotalOut]
