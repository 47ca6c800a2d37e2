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
    |   |-- IssuerUnavailable           503: the issuer's keys cannot be had now
    |   `-- GatewayNotLinked            no platform, so no trace tokens
    |-- StoreError                    a secret store did not give a secret (503)
    |   |-- StoreUnavailable, StoreTimedOut, StoreAccessDenied,
    |   `-- SecretNotFound, SecretInvalid, SecretTooOld,
    |                                   StoreUnsupported
    |-- SealedStoreError              the embedded store: SealedKeyWrong, SealedKeyMissing,
    |                                   SealedKeyExposed, SealedStoreCorrupt
    |-- UpstreamError                 the provider (502, 504): UpstreamUnreachable,
    |                                   UpstreamTimedOut, UpstreamBroken,
    |                                   UpstreamRefusedCredential, UpstreamDenied,
    |                                   CredentialEchoed, UploadNotRepeated
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
    |                                   DataFormatTooNew, DataDirectoryLocked,
    |                                   DataDirectoryForeign
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
        |-- DatabaseUnavailable         503: DatabaseTooNew, DatabaseNotBackedUp,
        |   |                             DatabaseNotUpgraded (stop the start)
        |-- TraceError                  spans: SpansMalformed (400; SpansTooLarge 413),
        |   |                             IngestKeyRequired, TraceTokenRefused (401),
        |   |                             TraceQueueFull (429),
        |   |                             TraceStoreUnavailable (503; TraceStoreInUse,
        |   |                             TraceStoreTooNew, TraceStoreTooOld), TraceBatchRefused
        |   `-- QueryInvalid              422, with the character: QueryNotAllowed (403);
        |                                 QueryTooExpensive (422)
        |-- ApiProblem                  what the platform answered to the command line
        |-- ServerUnreachable           the command line cannot reach the platform
        `-- NotSignedIn                 the command line has no sign-in and no API key

Only ``code``, ``message``, ``advice`` and a request id ever reach a client. Messages are written
for people and never contain a secret, a token or foreign text that was not cleaned first.
"""

from __future__ import annotations

from keylease.errors.api import (
    ApiError,
    ApiProblem,
    CursorInvalid,
    DatabaseNotBackedUp,
    DatabaseNotUpgraded,
    DatabaseTooNew,
    DatabaseUnavailable,
    InputInvalid,
    Mistake,
    NotSignedIn,
    PermissionDenied,
    PolicyInvalid,
    PreviousSecretActive,
    PrincipalInvalid,
    ResourceConflict,
    ResourceNotFound,
    SecretInRequest,
    ServerUnreachable,
    SignInAgain,
    SignInRefused,
    SignInRequired,
    TooManyAttempts,
    VersionChanged,
    VersionRequired,
)
from keylease.errors.base import (
    KeyleaseError,
)
from keylease.errors.configuration import (
    ConfigurationError,
    Diagnostic,
    FileInvalid,
    FingerprintKeyInvalid,
    GatewayFileInvalid,
    PolicyFileInvalid,
    ReferenceInvalid,
    ScanInvalid,
    SettingsInvalid,
    Severity,
)
from keylease.errors.connectors import (
    ConnectorAnswerInvalid,
    ConnectorDenied,
    ConnectorError,
    ConnectorThrottled,
    ConnectorUnknown,
    ConnectorUnreachable,
)
from keylease.errors.link import (
    BundleExpired,
    BundleForeign,
    BundleNotSigned,
    BundleNotUnderstood,
    BundleOutdated,
    BundleRefused,
    BundleTooLarge,
    EnrolmentCodeMalformed,
    EnrolmentRefused,
    GatewayNotProven,
    GatewayRevoked,
    LinkError,
    LinkVersionUnsupported,
    PlatformRefused,
    PlatformUnreachable,
    RequestReplayed,
    RequestTimeRefused,
)
from keylease.errors.machine import (
    AuditLogUnavailable,
    DataDirectoryForeign,
    DataDirectoryLocked,
    DataFormatTooNew,
    GatewayNotRunning,
    PolicyKeyUnavailable,
    PortInUse,
    ProcessError,
    ProcessFailed,
    ProgramNotFound,
    ProgramNotStarted,
    SecretMisused,
    StorageCorrupt,
    StorageError,
    StorageFull,
)
from keylease.errors.outbound import (
    EgressRefused,
    LogFaulty,
    NoteInvalid,
    ProofInvalid,
    SignatureInvalid,
    TransparencyError,
    WitnessRefused,
)
from keylease.errors.requests import (
    AccessDenied,
    ApiKeyMalformed,
    BindingMissing,
    CallsNotAccepted,
    ConnectionsExhausted,
    ExpectationFailed,
    GatewayNotLinked,
    IssuerUnavailable,
    LeaseExpired,
    LeaseForeign,
    LeaseMalformed,
    LeaseMissing,
    LeaseNotYetValid,
    LeaseRefused,
    LeaseRevoked,
    LimitReached,
    MethodNotAllowed,
    MethodNotImplemented,
    ModelNotAllowed,
    ObjectNotAllowed,
    PathNotFound,
    PurposeNotAllowed,
    RequestHeadTooLarge,
    RequestMalformed,
    RequestRefused,
    RequestTimedOut,
    RequestTooLarge,
    SenderNotProven,
    TokenExchangeRefused,
)
from keylease.errors.stores import (
    SealedKeyExposed,
    SealedKeyMissing,
    SealedKeyWrong,
    SealedStoreCorrupt,
    SealedStoreError,
    SecretInvalid,
    SecretNotFound,
    SecretTooOld,
    StoreAccessDenied,
    StoreError,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.errors.traces import (
    IngestKeyRequired,
    QueryInvalid,
    QueryNotAllowed,
    QueryTooExpensive,
    SpansMalformed,
    SpansTooLarge,
    TraceBatchRefused,
    TraceError,
    TraceQueueFull,
    TraceStoreInUse,
    TraceStoreTooNew,
    TraceStoreTooOld,
    TraceStoreUnavailable,
    TraceTokenRefused,
)
from keylease.errors.upstreams import (
    CredentialEchoed,
    UploadNotRepeated,
    UpstreamBroken,
    UpstreamDenied,
    UpstreamError,
    UpstreamRefusedCredential,
    UpstreamTimedOut,
    UpstreamUnreachable,
)

__all__ = [
    "AccessDenied",
    "ApiError",
    "ApiKeyMalformed",
    "ApiProblem",
    "AuditLogUnavailable",
    "BindingMissing",
    "BundleExpired",
    "BundleForeign",
    "BundleNotSigned",
    "BundleNotUnderstood",
    "BundleOutdated",
    "BundleRefused",
    "BundleTooLarge",
    "CallsNotAccepted",
    "ConfigurationError",
    "ConnectionsExhausted",
    "ConnectorAnswerInvalid",
    "ConnectorDenied",
    "ConnectorError",
    "ConnectorThrottled",
    "ConnectorUnknown",
    "ConnectorUnreachable",
    "CredentialEchoed",
    "CursorInvalid",
    "DataDirectoryForeign",
    "DataDirectoryLocked",
    "DataFormatTooNew",
    "DatabaseNotBackedUp",
    "DatabaseNotUpgraded",
    "DatabaseTooNew",
    "DatabaseUnavailable",
    "Diagnostic",
    "EgressRefused",
    "EnrolmentCodeMalformed",
    "EnrolmentRefused",
    "ExpectationFailed",
    "FileInvalid",
    "FingerprintKeyInvalid",
    "GatewayFileInvalid",
    "GatewayNotLinked",
    "GatewayNotProven",
    "GatewayNotRunning",
    "GatewayRevoked",
    "IngestKeyRequired",
    "InputInvalid",
    "IssuerUnavailable",
    "KeyleaseError",
    "LeaseExpired",
    "LeaseForeign",
    "LeaseMalformed",
    "LeaseMissing",
    "LeaseNotYetValid",
    "LeaseRefused",
    "LeaseRevoked",
    "LimitReached",
    "LinkError",
    "LinkVersionUnsupported",
    "LogFaulty",
    "MethodNotAllowed",
    "MethodNotImplemented",
    "Mistake",
    "ModelNotAllowed",
    "NotSignedIn",
    "NoteInvalid",
    "ObjectNotAllowed",
    "PathNotFound",
    "PermissionDenied",
    "PlatformRefused",
    "PlatformUnreachable",
    "PolicyFileInvalid",
    "PolicyInvalid",
    "PolicyKeyUnavailable",
    "PortInUse",
    "PreviousSecretActive",
    "PrincipalInvalid",
    "ProcessError",
    "ProcessFailed",
    "ProgramNotFound",
    "ProgramNotStarted",
    "ProofInvalid",
    "PurposeNotAllowed",
    "QueryInvalid",
    "QueryNotAllowed",
    "QueryTooExpensive",
    "ReferenceInvalid",
    "RequestHeadTooLarge",
    "RequestMalformed",
    "RequestRefused",
    "RequestReplayed",
    "RequestTimeRefused",
    "RequestTimedOut",
    "RequestTooLarge",
    "ResourceConflict",
    "ResourceNotFound",
    "ScanInvalid",
    "SealedKeyExposed",
    "SealedKeyMissing",
    "SealedKeyWrong",
    "SealedStoreCorrupt",
    "SealedStoreError",
    "SecretInRequest",
    "SecretInvalid",
    "SecretMisused",
    "SecretNotFound",
    "SecretTooOld",
    "SenderNotProven",
    "ServerUnreachable",
    "SettingsInvalid",
    "Severity",
    "SignInAgain",
    "SignInRefused",
    "SignInRequired",
    "SignatureInvalid",
    "SpansMalformed",
    "SpansTooLarge",
    "StorageCorrupt",
    "StorageError",
    "StorageFull",
    "StoreAccessDenied",
    "StoreError",
    "StoreTimedOut",
    "StoreUnavailable",
    "StoreUnsupported",
    "TokenExchangeRefused",
    "TooManyAttempts",
    "TraceBatchRefused",
    "TraceError",
    "TraceQueueFull",
    "TraceStoreInUse",
    "TraceStoreTooNew",
    "TraceStoreTooOld",
    "TraceStoreUnavailable",
    "TraceTokenRefused",
    "TransparencyError",
    "UploadNotRepeated",
    "UpstreamBroken",
    "UpstreamDenied",
    "UpstreamError",
    "UpstreamRefusedCredential",
    "UpstreamTimedOut",
    "UpstreamUnreachable",
    "VersionChanged",
    "VersionRequired",
    "WitnessRefused",
]
