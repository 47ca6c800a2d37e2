"""The platform's API says no, or cannot answer now."""

from __future__ import annotations

import msgspec

from keylease.errors.base import KeyleaseError


class ApiError(KeyleaseError):
    """The platform's API refuses a request, or cannot answer it now."""

    code = "api_request_refused"
    http_status = 400


class InputInvalid(ApiError):
    """Something in the request is not as it must be; nothing was changed."""

    code = "input_invalid"
    http_status = 422


class PrincipalInvalid(InputInvalid):
    """A text that should name a principal does not."""

    code = "principal_invalid"


class CursorInvalid(InputInvalid):
    """A page was asked for with a cursor that this list did not give."""

    code = "cursor_invalid"


class Mistake(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a request. Never contains a secret."""

    location: str
    """JSON path, such as ``body.targets.0.credential_id``."""
    message: str
    suggestion: str = ""


class PolicyInvalid(InputInvalid):
    """A credential, route, grant, budget or trust rule, or the draft as a whole, has mistakes."""

    code = "policy_invalid"

    def __init__(
        self, message: str, *, mistakes: tuple[Mistake, ...] = (), advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.mistakes = mistakes


class SecretInRequest(InputInvalid):
    """A request contains something that looks like a key; it was neither stored nor logged."""

    code = "secret_in_request"


class SignInRequired(ApiError):
    """The request carries no session and no API key that is valid."""

    code = "sign_in_required"
    http_status = 401


class SignInRefused(ApiError):
    """The sign-in did not show who it is; the answer is the same whether the account exists."""

    code = "sign_in_refused"
    http_status = 401


class SignInAgain(ApiError):
    """The change needs a sign-in of the last minutes, and this one is older."""

    code = "sign_in_again"
    http_status = 403


class PermissionDenied(ApiError):
    """The principal may not do this; the message says which permission is missing, and where."""

    code = "permission_denied"
    http_status = 403


class ResourceNotFound(ApiError):
    """There is no such thing, or the caller may not know that there is."""

    code = "not_found"
    http_status = 404


class ResourceConflict(ApiError):
    """The state of things does not allow the change."""

    code = "conflict"
    http_status = 409


class PreviousSecretActive(ResourceConflict):
    """The key was rotated and its previous text is good for some time yet."""

    code = "previous_secret_active"


class VersionChanged(ApiError):
    """The thing has changed since the version that ``If-Match`` names."""

    code = "version_changed"
    http_status = 412


class VersionRequired(ApiError):
    """An update or removal must name the version it changes with ``If-Match``."""

    code = "version_required"
    http_status = 428


class TooManyAttempts(ApiError):
    """Too many attempts; ``retry_after`` whole seconds have to pass."""

    code = "too_many_attempts"
    http_status = 429

    def __init__(self, message: str, *, retry_after: int, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after


class DatabaseUnavailable(ApiError):
    """The database does not answer; nothing was changed."""

    code = "database_unavailable"
    http_status = 503


class DatabaseTooNew(DatabaseUnavailable):
    """The database was written by a newer version of the platform."""

    code = "database_too_new"
    exit_status = 64


class DatabaseNotBackedUp(DatabaseUnavailable):
    """The schema must be changed, and no back-up could be made before; nothing was changed."""

    code = "database_not_backed_up"
    exit_status = 64


class DatabaseNotUpgraded(DatabaseUnavailable):
    """A step of the upgrade of the schema does not work here; nothing was changed."""

    code = "database_not_upgraded"
    exit_status = 64


class ApiProblem(ApiError):
    """The platform answered the command line with a problem document."""

    code = "api_problem"

    def __init__(
        self,
        message: str,
        *,
        status: int,
        reason: str,
        advice: str = "",
        position: int | None = None,
    ) -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.reason = reason
        """The platform's own code."""
        self.position = position
        """The character of a filter or of SQL at fault, from 0."""


class ServerUnreachable(ApiError):
    """The platform does not answer, or what answers is not the platform."""

    code = "server_unreachable"
    http_status = 503
    exit_status = 69


class NotSignedIn(ApiError):
    """The command needs a sign-in or an API key, and there is none."""

    code = "not_signed_in"
    http_status = 401
    exit_status = 77
