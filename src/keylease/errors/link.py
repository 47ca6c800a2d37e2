"""What passes between a gateway and the platform."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class LinkError(KeyleaseError):
    """Something between a gateway and the platform went wrong."""

    code = "link_error"
    http_status = 503


class EnrolmentCodeMalformed(LinkError):
    """What was given as an enrolment code is none."""

    code = "enrolment_code_malformed"
    http_status = 400
    exit_status = 64


class EnrolmentRefused(LinkError):
    """The gateway cannot be enrolled with this code."""

    code = "enrolment_refused"
    http_status = 403


class PlatformUnreachable(LinkError):
    """The platform does not answer, or not with what a platform answers."""

    code = "platform_unreachable"
    exit_status = 69


class PlatformRefused(LinkError):
    """The platform answered and says no."""

    code = "platform_refused"

    def __init__(self, message: str, *, reason: str = "", advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        """The platform's own code."""


class GatewayRevoked(LinkError):
    """The platform does not accept this gateway's key any more."""

    code = "gateway_revoked"
    http_status = 403


class GatewayNotProven(LinkError):
    """A request of the link is not signed by a gateway that is known here."""

    code = "gateway_not_proven"
    http_status = 401


class RequestTimeRefused(LinkError):
    """A signed request is of another time: a clock is wrong, or the request is old."""

    code = "request_time_refused"
    http_status = 401


class RequestReplayed(LinkError):
    """A signed request came a second time."""

    code = "request_replayed"
    http_status = 401


class LinkVersionUnsupported(LinkError):
    """Gateway and platform are more than one version of the link apart."""

    code = "link_version_unsupported"
    http_status = 400


class BundleRefused(LinkError):
    """A policy bundle that this gateway does not take; the last good one stays."""

    code = "bundle_refused"


class BundleTooLarge(BundleRefused):
    """The bundle has more bytes or items than a gateway reads."""

    code = "bundle_too_large"


class BundleNotSigned(BundleRefused):
    """The bundle is not signed by the policy key that this gateway trusts."""

    code = "bundle_not_signed"


class BundleNotUnderstood(BundleRefused):
    """The bundle is malformed, or demands something that this version does not know."""

    code = "bundle_not_understood"


class BundleForeign(BundleRefused):
    """The bundle was made for another organization or gateway group."""

    code = "bundle_foreign"


class BundleOutdated(BundleRefused):
    """The bundle is older than one that was in force, or another one of the same version."""

    code = "bundle_outdated"


class BundleExpired(BundleRefused):
    """The bundle may not be served any more, or not yet."""

    code = "bundle_expired"
