"""The secrets that the platform itself handles. None of them opens a provider."""

from __future__ import annotations

from keylease.platform.trust.report import HeldSecret

_IN_DIRECTORY = "the platform's own directory, a file of mode 0600"
_OWN_USER = "the file system's permissions; no encryption beside that of the disk"
_PROCESS = "the platform's process"


def platform_secrets(*, isolation: str, database: str, api_key_days: int) -> tuple[HeldSecret, ...]:
    """Each with where it is; ``database`` names the database in words."""

    def held(kind: str, location: str, protector: str, lifetime: str, audit: str) -> HeldSecret:
        return HeldSecret(
            kind=kind,
            location=location,
            protector=protector,
            holder=_PROCESS,
            isolation=isolation,
            lifetime=lifetime,
            audit=audit,
        )

    return (
        held(
            "policy signing key",
            _IN_DIRECTORY,
            _OWN_USER,
            "until it is rotated; the old key signs the new one",
            "every publication is an audit entry; gateways pin the key's fingerprint",
        ),
        held(
            "audit log signing key",
            _IN_DIRECTORY,
            _OWN_USER,
            "until it is rotated",
            "every checkpoint is signed with it and can be witnessed elsewhere",
        ),
        held(
            "identity signing key",
            _IN_DIRECTORY,
            _OWN_USER,
            "identity tokens live at most 5 minutes",
            "every lease that a gateway issues for one is an audit entry",
        ),
        held(
            "key that seals second factors",
            _IN_DIRECTORY,
            _OWN_USER,
            "until it is replaced",
            "its use is not written down one by one",
        ),
        held(
            "passwords",
            database,
            "Argon2id; only the hash is kept",
            "until they are changed",
            "every sign-in and every refusal is an audit entry",
        ),
        held(
            "one-time code secrets",
            database,
            "AES-GCM under the key that seals second factors",
            "until they are removed",
            "every sign-in is an audit entry",
        ),
        held(
            "API keys",
            database,
            "SHA-256 of at least 160 random bits; shown once, never kept",
            f"{api_key_days} days unless said otherwise",
            "creation, rotation and removal are audit entries; last use is kept",
        ),
        held(
            "sessions",
            database,
            "SHA-256 of 256 random bits; the browser holds the only copy",
            "hours; rotated and revocable",
            "start and end are audit entries",
        ),
    )
