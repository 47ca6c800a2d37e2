"""What callers of the gateway did wrong."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class RequestRefused(KeyleaseError):
    """The caller has to change something before asking again."""

    code = "request_refused"
    http_status = 400


class RequestMalformed(RequestRefused):
    """The request is not well formed, or could be read in two ways."""

    code = "request_malformed"


class RequestTooLarge(RequestRefused):
    """The request is over a size limit."""

    code = "request_too_large"
    http_status = 413


class RequestHeadTooLarge(RequestRefused):
    """The request line and the fields together are over a limit (RFC 6585 section 5)."""

    code = "request_head_too_large"
    http_status = 431


class RequestTimedOut(RequestRefused):
    """The request did not arrive in time."""

    code = "request_timed_out"
    http_status = 408


class MethodNotImplemented(RequestRefused):
    """No server here knows the method, CONNECT included."""

    code = "method_not_implemented"
    http_status = 501


class ExpectationFailed(RequestRefused):
    """The request expects something other than 100-continue."""

    code = "expectation_failed"
    http_status = 417


class ConnectionsExhausted(RequestRefused):
    """The server holds as many connections as it may."""

    code = "connections_exhausted"
    http_status = 503


class LeaseRefused(RequestRefused):
    """The lease does not open this gateway."""

    code = "lease_refused"
    http_status = 401


class LeaseMissing(LeaseRefused):
    """The request carries no lease."""

    code = "lease_missing"


class LeaseMalformed(LeaseRefused):
    """What was sent in the place of a lease is none."""

    code = "lease_malformed"


class LeaseExpired(LeaseRefused):
    """The lease was valid once."""

    code = "lease_expired"


class LeaseNotYetValid(LeaseRefused):
    """The lease was issued in the future: a clock is wrong."""

    code = "lease_not_yet_valid"


class LeaseForeign(LeaseRefused):
    """The lease was issued by or for somebody else."""

    code = "lease_foreign"


class LeaseRevoked(LeaseRefused):
    """The lease, its principal or its credential was revoked."""

    code = "lease_revoked"


class SenderNotProven(LeaseRefused):
    """The lease is bound to a sender key and the request does not prove possession of it."""

    code = "sender_not_proven"


class ApiKeyMalformed(RequestRefused):
    """What was sent in the place of an API key is none."""

    code = "api_key_malformed"
    http_status = 401


class AccessDenied(RequestRefused):
    """The lease is valid and does not allow this."""

    code = "access_denied"
    http_status = 403


class ModelNotAllowed(AccessDenied):
    """The lease or the grants do not cover this model, or no route leads to it."""

    code = "model_not_allowed"


class PurposeNotAllowed(AccessDenied):
    """The purpose of the lease and of the credential do not meet."""

    code = "purpose_not_allowed"


class ObjectNotAllowed(AccessDenied):
    """The object was created by another principal."""

    code = "object_not_allowed"


class BindingMissing(AccessDenied):
    """No binding in gateway.toml allows this reference to go to this host for this purpose."""

    code = "binding_missing"


class PathNotFound(RequestRefused):
    """The path is not on the provider's list."""

    code = "path_not_found"
    http_status = 404


class MethodNotAllowed(RequestRefused):
    """The path is known, the method is not."""

    code = "method_not_allowed"
    http_status = 405

    def __init__(self, message: str, *, advice: str = "", allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message, advice=advice)
        self.allowed = allowed
        """What the path takes, for the field ``Allow`` (RFC 9110 section 15.5.6)."""


class CallsNotAccepted(RequestRefused):
    """The gateway has no policy yet, or cannot record calls, and says so instead of serving."""

    code = "calls_not_accepted"
    http_status = 503


class LimitReached(RequestRefused):
    """A rate limit or a budget is used up."""

    code = "limit_reached"
    http_status = 429

    def __init__(
        self, message: str, *, retry_after: int, advice: str = "", hopeless: bool = False
    ) -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after
        """Whole seconds after which the same request may succeed."""
        self.hopeless = hopeless
        """It asks for more than the whole limit: waiting does not help, only another request."""

    def explained(self, more: str, *, advice: str) -> LimitReached:
        """The same refusal with a reason behind it, and with other advice."""
        return LimitReached(
            f"{self.message} {more}",
            retry_after=self.retry_after,
            advice=advice,
            hopeless=self.hopeless,
        )


class TokenExchangeRefused(KeyleaseError):
    """A token exchange failed; ``oauth_error`` is a code of RFC 6749 section 5.2 or RFC 8693."""

    code = "token_exchange_refused"
    http_status = 400

    def __init__(
        self, message: str, *, oauth_error: str = "invalid_request", advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.oauth_error = oauth_error


class IssuerUnavailable(TokenExchangeRefused):
    """The keys of a trusted issuer cannot be had now; nothing is said about the token."""

    code = "issuer_unavailable"
    http_status = 503

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            oauth_error="temporarily_unavailable",
            advice="Try again; if it lasts, check that the gateway can reach the issuer.",
        )


class GatewayNotLinked(TokenExchangeRefused):
    """A gateway without a platform gives no trace tokens: there is nobody to send spans to."""

    code = "gateway_not_linked"

    def __init__(self) -> None:
        super().__init__(
            "This gateway is enrolled at no platform, so it gives no trace tokens.",
            oauth_error="invalid_target",
            advice="Its owner enrolls it with `keylease gateway enroll`; or use an ingest key.",
        )
