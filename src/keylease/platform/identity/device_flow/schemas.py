"""Wire types of the device flow. The two OAuth endpoints take forms, as RFC 8628 has them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from keylease.platform.identity.wire import In, Moment, Out

UserCode = Annotated[str, StringConstraints(min_length=1, max_length=20)]


class DeviceStartOut(Out):
    """What a device is told (RFC 8628 section 3.2)."""

    device_code: str
    user_code: str
    verification_uri: str
    verification_uri_complete: str
    expires_in: int
    interval: int


class DeviceTokenOut(Out):
    """The session of a command line (RFC 6749 section 5.1)."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - the name of a scheme
    expires_in: int


class OAuthProblem(Out):
    """Why there is none (RFC 6749 section 5.2, RFC 8628 section 3.5)."""

    error: str
    error_description: str = ""


class LookIn(In):
    """The code that a device shows."""

    user_code: UserCode


class DecisionIn(In):
    """What somebody has decided about a device."""

    user_code: UserCode
    approve: bool


class WaitingDeviceOut(Out):
    """The device that shows a code."""

    id: str
    device: str = Field(description="What it calls itself; not proven.")
    address: str
    created_at: Moment
