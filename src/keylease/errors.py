"""Every error the product raises on purpose.

    KeyleaseError                     code, safe message, advice
    |-- ConfigurationError            bad configuration stops the start (exit status 64)
    |   |-- SettingsInvalid             flags, environment, settings file
    |   |-- FileInvalid                 carries every mistake found, as a Diagnostic each
    |   |   |-- PolicyFileInvalid         keylease.toml
    |   |   `-- GatewayFileInvalid        gateway.toml
    |   |-- ReferenceInvalid            a reference that is no URI we know
    |   |-- FingerprintKeyInvalid       the key that fingerprints are made with
    |   `-- ScanInvalid                 what was asked of a scan cannot be done
    |-- RequestRefused                what a caller of the gateway did wrong (4xx)
    |   |-- RequestMalformed            400: not HTTP, not JSON, ambiguous
    |   |-- RequestTooLarge             413
    |   |-- RequestHeadTooLarge         431
    |   |-- RequestTimedOut             408
    |   |-- MethodNotImplemented        501
    |   |-- ExpectationFailed           417
    |   |-- ConnectionsExhausted        503
    |   |-- LeaseRefused                401: LeaseMissing, LeaseMalformed, LeaseExpired,
    |   |                                    LeaseNotYetValid, LeaseForeign, LeaseRevoked,
    |   |                                    SenderNotProven
    |   |-- ApiKeyMalformed               401
    |   |-- AccessDenied                403: ModelNotAllowed, PurposeNotAllowed,
    |   |                                    ObjectNotAllowed, BindingMissing
    |   |-- PathNotFound                404
    |   |-- MethodNotAllowed            405
    |   |-- CallsNotAccepted            503: no policy, or no room to record calls
    |   `-- LimitReached                429, with a time to wait
    |-- TokenExchangeRefused          /oauth/token says no (RFC 6749 error codes)
    |   `-- IssuerUnavailable           503: the issuer's keys cannot be had now
    |-- StoreError                    a secret store did not give a secret (503)
    |   |-- StoreUnavailable, StoreTimedOut, StoreAccessDenied,
    |   `-- SecretNotFound, SecretInvalid, SecretTooOld,
    |                                   StoreUnsupported
    |-- SealedStoreError              the embedded store: SealedKeyWrong, SealedKeyMissing,
    |                                   SealedKeyExposed, SealedStoreCorrupt
    |-- UpstreamError                 the provider (502, 504): UpstreamUnreachable,
    |                                   UpstreamTimedOut, UpstreamBroken,
    |                                   UpstreamRefusedCredential, UpstreamDenied,
    |                                   CredentialEchoed
    |-- ConnectorError                an outside system that keeps secrets: ConnectorUnknown,
    |                                   ConnectorUnreachable, ConnectorDenied,
    |                                   ConnectorThrottled, ConnectorAnswerInvalid
    |-- EgressRefused                 an address that outbound requests may not reach
    |-- SignatureInvalid              a signed token is malformed, or not signed by that key
    |-- TransparencyError             a Merkle log or what is said about one does not hold
    |   |-- NoteInvalid                 no signed note, or not signed by a key that is trusted
    |   |-- ProofInvalid                an inclusion or consistency proof does not hold
    |   |-- LogFaulty                   the first place where a log is not what was signed
    |   `-- WitnessRefused              a witness does not cosign a checkpoint
    |-- LinkError                     gateway and platform: EnrolmentCodeMalformed,
    |   |                               EnrolmentRefused, PlatformUnreachable,
    |   |                               PlatformRefused, GatewayRevoked, GatewayNotProven,
    |   |                               RequestTimeRefused, RequestReplayed,
    |   |                               LinkVersionUnsupported
    |   `-- BundleRefused               BundleTooLarge, BundleNotSigned, BundleNotUnderstood,
    |                                   BundleForeign, BundleOutdated, BundleExpired
    |-- StorageError                  our own disk: StorageFull, StorageCorrupt,
    |                                   AuditLogUnavailable, PolicyKeyUnavailable,
    |                                   DataFormatTooNew, DataDirectoryLocked
    |-- ProcessError                  PortInUse, ProcessFailed, GatewayNotRunning,
    |                                   ProgramNotFound, ProgramNotStarted
    |-- SecretMisused                 somebody tried to print, copy or store a secret
    `-- ApiError                      the platform's API says no, or cannot answer now
        |-- InputInvalid                422: PrincipalInvalid, CursorInvalid, SecretInRequest
        |   `-- PolicyInvalid             carries every mistake found, as a Mistake each
        |-- SignInRequired              401
        |-- SignInRefused               401: who they say they are was not shown
        |-- SignInAgain                 403: too long since the sign-in for this change
        |-- PermissionDenied            403, always with the reason
        |-- ResourceNotFound            404, also for what belongs to somebody else
        |-- ResourceConflict            409: the state of things does not allow it
        |   `-- PreviousSecretActive        an API key was rotated a moment ago
        |-- VersionChanged              412: somebody else changed it first
        |-- VersionRequired             428: an update must say which version it changes
        |-- TooManyAttempts             429, with a time to wait
        |-- DatabaseUnavailable         503: DatabaseTooNew (stops the start)
        |-- ApiProblem                  what the platform answered to the command line
        |-- ServerUnreachable           the command line cannot reach the platform
        `-- NotSignedIn                 the command line has no sign-in and no API key

Only ``code``, ``message``, ``advice`` and a request id ever reach a client. Messages are written
for people and never contain a secret, a token or foreign text that was not cleaned first.
"""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar

import msgspec


class KeyleaseError(Exception):
    """An error with a stable code, a message that is safe to show, and advice on what to do."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()


# --- configuration -------------------------------------------------------------------------


class ConfigurationError(KeyleaseError):
    """Configuration that cannot be used; the process does not start."""

    code = "configuration_invalid"
    exit_status = 64


class SettingsInvalid(ConfigurationError):
    """A flag, an environment variable or the settings file is wrong."""

    code = "settings_invalid"


class Severity(StrEnum):
    """Whether a diagnostic stops the file from being used."""

    ERROR = "error"
    WARNING = "warning"


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with a configuration file. Never contains a secret."""

    path: str
    line: int = 0
    """Counts from 1; 0 means the file as a whole."""
    column: int = 0
    message: str
    suggestion: str = ""
    severity: Severity = Severity.ERROR

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}:{self.column}" if self.line else self.path
        hint = f" ({self.suggestion})" if self.suggestion else ""
        return f"{place}: {self.severity.value}: {self.message}{hint}"


class FileInvalid(ConfigurationError):
    """A configuration file has mistakes; ``diagnostics`` holds every one that was found."""

    code = "file_invalid"

    def __init__(
        self, message: str, *, diagnostics: tuple[Diagnostic, ...] = (), advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.diagnostics = diagnostics


class PolicyFileInvalid(FileInvalid):
    """keylease.toml has mistakes; the message lists each with its line."""

    code = "policy_file_invalid"


class GatewayFileInvalid(FileInvalid):
    """gateway.toml has mistakes; the message lists each with its line."""

    code = "gateway_file_invalid"


class ReferenceInvalid(ConfigurationError):
    """A reference is no URI of a known secret store."""

    code = "reference_invalid"


class FingerprintKeyInvalid(ConfigurationError):
    """The key that fingerprints are made with cannot be used."""

    code = "fingerprint_key_invalid"


class ScanInvalid(ConfigurationError):
    """What was asked of a scan cannot be done: a path that is not there, a broken baseline."""

    code = "scan_invalid"


# --- requests to the gateway ---------------------------------------------------------------


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


class CallsNotAccepted(RequestRefused):
    """The gateway has no policy yet, or cannot record calls, and says so instead of serving."""

    code = "calls_not_accepted"
    http_status = 503


class LimitReached(RequestRefused):
    """A rate limit or a budget is used up."""

    code = "limit_reached"
    http_status = 429

    def __init__(self, message: str, *, retry_after: int, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.retry_after = retry_after
        """Whole seconds after which the same request may succeed."""


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


# --- secret stores -------------------------------------------------------------------------


class StoreError(KeyleaseError):
    """A secret store did not give the secret."""

    code = "store_error"
    http_status = 503


class StoreUnavailable(StoreError):
    """The store cannot be reached or answers with an error of its own."""

    code = "store_unavailable"


class StoreTimedOut(StoreUnavailable):
    """The store did not answer in time."""

    code = "store_timed_out"


class StoreAccessDenied(StoreError):
    """The store refuses our identity."""

    code = "store_access_denied"


class SecretNotFound(StoreError):
    """The store has nothing at this reference."""

    code = "secret_not_found"


class SecretInvalid(StoreError):
    """The store answered with something that cannot be a secret."""

    code = "secret_invalid"


class SecretTooOld(StoreError):
    """The store has a version of the secret that the policy does not allow any more."""

    code = "secret_too_old"


class StoreUnsupported(StoreError):
    """The store cannot be used on this machine, or not safely."""

    code = "store_unsupported"


class SealedStoreError(StoreError):
    """The sealed file store cannot be used."""

    code = "sealed_store_error"


class SealedKeyWrong(SealedStoreError):
    """The key file or passphrase is not the one that sealed the store."""

    code = "sealed_key_wrong"


class SealedKeyMissing(SealedStoreError):
    """There is a sealed store, and the key file or passphrase that opens it is not there."""

    code = "sealed_key_missing"


class SealedKeyExposed(SealedStoreError):
    """The key file can be read by others, or lies beside what it opens."""

    code = "sealed_key_exposed"


class SealedStoreCorrupt(SealedStoreError):
    """The sealed file was damaged or changed by something else."""

    code = "sealed_store_corrupt"


# --- the provider --------------------------------------------------------------------------


class UpstreamError(KeyleaseError):
    """The provider did not give a usable answer."""

    code = "upstream_error"
    http_status = 502


class UpstreamUnreachable(UpstreamError):
    """No connection could be made; nothing was sent."""

    code = "upstream_unreachable"


class UpstreamTimedOut(UpstreamError):
    """The provider took too long."""

    code = "upstream_timed_out"
    http_status = 504


class UpstreamBroken(UpstreamError):
    """The connection broke or the answer was no HTTP; whether the call was billed is unknown."""

    code = "upstream_broken"


class UpstreamRefusedCredential(UpstreamError):
    """The provider does not accept the credential, also after a fresh fetch."""

    code = "upstream_refused_credential"


class UpstreamDenied(UpstreamError):
    """The provider answered 403: the credential may not do this."""

    code = "upstream_denied"
    http_status = 403


class CredentialEchoed(UpstreamError):
    """The provider's answer contained the credential that it was asked with."""

    code = "credential_echoed"


# --- our own machine -----------------------------------------------------------------------


class EgressRefused(KeyleaseError):
    """An outbound request would reach an address that is not allowed."""

    code = "egress_refused"
    http_status = 502


class SignatureInvalid(KeyleaseError):
    """A signed token is malformed, or its signature does not hold; mapped before it is shown."""

    code = "signature_invalid"
    http_status = 400


class TransparencyError(KeyleaseError):
    """A Merkle log, or what is said about one, does not hold."""

    code = "transparency_error"
    http_status = 422


class NoteInvalid(TransparencyError):
    """A text is no signed note, or no key that is trusted signed it."""

    code = "note_invalid"


class ProofInvalid(TransparencyError):
    """An inclusion or consistency proof does not lead to the root it is about."""

    code = "proof_invalid"


class LogFaulty(TransparencyError):
    """A log is not what was signed or witnessed; says where the first fault is."""

    code = "log_faulty"

    def __init__(
        self, message: str, *, step: int, place: str, index: int | None = None, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.step = step
        """The number of the verification step that failed."""
        self.place = place
        """The file, or the line of an export."""
        self.index = index
        """The first entry that is not proven to be what was logged; None when all may be."""


class WitnessRefused(TransparencyError):
    """A witness does not cosign a checkpoint; ``reason`` is a stable word."""

    code = "witness_refused"
    http_status = 409

    def __init__(
        self, message: str, *, reason: str, known_size: int | None = None, advice: str = ""
    ) -> None:
        super().__init__(message, advice=advice)
        self.reason = reason
        self.known_size = known_size
        """The size the witness cosigned last, when the asker has to begin there."""


# --- gateway and platform ------------------------------------------------------------------


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


class StorageError(KeyleaseError):
    """Our own files cannot be read or written."""

    code = "storage_error"
    http_status = 503


class StorageFull(StorageError):
    """No space: on the disk, or in a spool with a bound."""

    code = "storage_full"


class StorageCorrupt(StorageError):
    """A file of ours does not have the form it was written in."""

    code = "storage_corrupt"


class AuditLogUnavailable(StorageError):
    """The audit log cannot be written, so nothing that needs an entry is changed."""

    code = "audit_log_unavailable"


class PolicyKeyUnavailable(StorageError):
    """The key that signs an organization's policy is not where it was kept, or others may read it."""

    code = "policy_key_unavailable"


class DataFormatTooNew(StorageError):
    """The data directory was written by a newer version."""

    code = "data_format_too_new"
    exit_status = 65


class DataDirectoryLocked(StorageError):
    """Another process uses the data directory."""

    code = "data_directory_locked"
    exit_status = 75


class ProcessError(KeyleaseError):
    """A process could not be started or reached."""

    code = "process_error"


class PortInUse(ProcessError):
    """Somebody else listens on the address."""

    code = "port_in_use"
    exit_status = 75


class ProcessFailed(ProcessError):
    """A child process ended when it should not."""

    code = "process_failed"
    exit_status = 70


class GatewayNotRunning(ProcessError):
    """Nothing answers on the gateway's control socket."""

    code = "gateway_not_running"
    exit_status = 69


class ProgramNotFound(ProcessError):
    """`keylease run` was given a program that does not exist; the exit status is the shell's."""

    code = "program_not_found"
    exit_status = 127


class ProgramNotStarted(ProcessError):
    """`keylease run` was given a program that cannot be executed."""

    code = "program_not_started"
    exit_status = 126


class SecretMisused(KeyleaseError):
    """Code tried to print, format, copy or serialise a secret. Always a defect of ours."""

    code = "secret_misused"


# --- the platform's API --------------------------------------------------------------------


class ApiError(KeyleaseError):
    """The platform's API refuses a request, or cannot answer it now."""

    code = "request_refused"
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


class ApiProblem(ApiError):
    """The platform answered the command line with a problem document."""

    code = "api_problem"

    def __init__(self, message: str, *, status: int, reason: str, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.status = status
        self.reason = reason
        """The platform's own code."""


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


# --- connectors to outside systems ---------------------------------------------------------


class ConnectorError(KeyleaseError):
    """An outside system that keeps secrets did not do what was asked."""

    code = "connector_failed"


class ConnectorUnknown(ConnectorError):
    """gateway.toml lists no such connector, or the system is not known."""

    code = "connector_unknown"
    exit_status = 64


class ConnectorUnreachable(ConnectorError):
    """The system cannot be reached, or does not answer in time."""

    code = "connector_unreachable"


class ConnectorDenied(ConnectorError):
    """The system does not accept the connector's credential, or it may not list secrets."""

    code = "connector_denied"


class ConnectorThrottled(ConnectorError):
    """The system asks to come back later than is worth waiting for."""

    code = "connector_throttled"


class ConnectorAnswerInvalid(ConnectorError):
    """The system answered something that is not of its published form."""

    code = "connector_answer_invalid"
