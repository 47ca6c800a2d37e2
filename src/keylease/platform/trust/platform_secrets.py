"""The secrets that the platform itself handles. None of them opens a provider.

Each says in which files of the platform's directory and in which columns of the database it lies. A
test looks at every file that a used server has, and at every column that could hold a secret or
what is made of one: what no row here claims, and nobody has written down as harmless, fails.
"""

from __future__ import annotations

from typing import Final

import msgspec
from sqlalchemy.engine import URL

from keylease.platform.trust.report import HeldSecret, Severity, Weakness

_FILE_MODE: Final = "the file system's permissions (mode 0600); no encryption beside the disk's"
_PROCESS: Final = "the platform's process"
_NOT_WRITTEN_DOWN: Final = "its use is not written down one by one"
_SIGN_INS: Final = "every sign-in and every refusal is an audit entry"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of secret of the platform, wherever it is kept."""

    kind: str
    protector: str
    lifetime: str
    audit: str
    files: tuple[str, ...] = ()
    """Patterns below the platform's directory."""
    columns: tuple[str, ...] = ()
    """``table.column``."""
    elsewhere: str = ""
    """Where it is when it is neither in a file nor in the database of the platform."""
    holder: str = _PROCESS


KEPT: Final = (
    Kept(
        kind="policy signing key",
        files=("policy-keys/*/*.pem",),
        protector=_FILE_MODE,
        lifetime="until it is rotated; the old key signs the new one",
        audit="every publication is an audit entry; gateways pin the key's fingerprint",
    ),
    Kept(
        kind="audit log signing key",
        files=("audit/keys/*.key",),
        protector=_FILE_MODE,
        lifetime="until it is rotated; the old key signs the new one",
        audit="every checkpoint is signed with it and can be witnessed elsewhere",
    ),
    Kept(
        kind="identity signing key",
        files=("identity-signing.json",),
        protector=_FILE_MODE,
        lifetime="until it is rotated; identity tokens live at most 5 minutes",
        audit="every token that is issued, and every lease for one, is an audit entry",
    ),
    Kept(
        kind="identity tokens",
        elsewhere="nowhere: given to whoever signed in, and not kept",
        protector="an Ed25519 signature; a gateway takes one where its own gateway.toml says so",
        lifetime="at most 5 minutes",
        audit="every token that is issued is an audit entry",
    ),
    Kept(
        kind="trace tokens of gateways",
        elsewhere="nowhere: shown with each batch of spans, and not kept",
        protector="an Ed25519 signature of the gateway that gave it; it sends spans of one "
        "principal to one project, and no gateway takes it",
        lifetime="at most 15 minutes; ends with its gateway, and with its lease where that is "
        "revoked here",
        audit="every one that a gateway gives is an audit entry",
    ),
    Kept(
        kind="webhook signing key",
        files=("webhooks/*.key",),
        protector=_FILE_MODE,
        lifetime="until its file is replaced; receivers hold the public half",
        audit="every webhook that is made or changed is an audit entry; "
        "every delivery is listed with it",
    ),
    Kept(
        kind="fingerprint key of masked secrets",
        files=("traces/fingerprint-keys/*.key",),
        protector=_FILE_MODE + "; who holds it can test a guess, and open nothing",
        lifetime="until it is replaced",
        audit=_NOT_WRITTEN_DOWN + "; what was masked is a finding of the inventory",
    ),
    Kept(
        kind="key that seals second factors",
        files=("sign-in.key",),
        protector=_FILE_MODE,
        lifetime="until it is replaced; second factors are set up again then",
        audit=_NOT_WRITTEN_DOWN,
    ),
    Kept(
        kind="passwords",
        columns=("passwords.hash",),
        protector="Argon2id; only the hash is kept",
        lifetime="until they are changed",
        audit=_SIGN_INS,
    ),
    Kept(
        kind="passkeys",
        columns=("passkeys.credential_digest", "passkeys.credential_id", "passkeys.public_key"),
        protector="the owner's authenticator holds the private half; here is the public one",
        lifetime="until they are removed",
        audit=_SIGN_INS + "; so are adding and removing one",
    ),
    Kept(
        kind="one-time code secrets",
        columns=("one_time_codes.sealed_secret",),
        protector="AES-GCM under the key that seals second factors",
        lifetime="until they are removed",
        audit=_SIGN_INS,
    ),
    Kept(
        kind="recovery codes",
        columns=("recovery_codes.digest",),
        protector="SHA-256 of random codes; shown once, never kept",
        lifetime="each until it is used, all until new ones are made",
        audit="making them and using one are audit entries",
    ),
    Kept(
        kind="sign-ins under way",
        columns=("sign_in_steps.digest", "sign_in_steps.data"),
        protector="SHA-256 of a random text that the browser holds; challenges and state beside it",
        lifetime="minutes, used once",
        audit=_SIGN_INS,
    ),
    Kept(
        kind="one-time links and invitations",
        columns=("sign_in_links.digest", "invitations.secret_digest"),
        protector="SHA-256 of random texts; shown once, never kept",
        lifetime="hours to days, used once",
        audit="making one and using one are audit entries",
    ),
    Kept(
        kind="device codes",
        columns=("device_authorizations.device_digest", "device_authorizations.user_code_digest"),
        protector="SHA-256; guesses at the short code are counted and slowed",
        lifetime="minutes, used once",
        audit="approving and denying a device are audit entries",
    ),
    Kept(
        kind="client secrets of outside issuers",
        columns=("outside_issuers.sealed_client_secret",),
        protector="AES-GCM under the key that seals second factors",
        lifetime="until they are replaced or the issuer is removed",
        audit="adding, changing and removing an issuer are audit entries",
    ),
    Kept(
        kind="API keys",
        columns=("api_keys.digest", "api_keys.previous_digest"),
        protector="SHA-256 of 192 random bits; shown once, never kept",
        lifetime="{api_key_days} days unless said otherwise",
        audit="creation, rotation and removal are audit entries; last use is kept",
    ),
    Kept(
        kind="ingest keys",
        columns=("api_keys.digest", "api_keys.previous_digest"),
        protector="SHA-256 of 192 random bits; they push, and read nothing",
        lifetime="{api_key_days} days unless said otherwise",
        audit="creation, rotation and removal are audit entries; last use is kept",
    ),
    Kept(
        kind="hashes of API keys in policy bundles",
        elsewhere="made of the API keys for each bundle; each gateway keeps its last bundle",
        protector="SHA-256 of 192 random bits; bundles are signed, and name no secret",
        lifetime="as the API keys",
        audit="every bundle that is issued is an audit entry",
    ),
    Kept(
        kind="sessions",
        columns=("sessions.digest", "sessions.previous_digest", "known_browsers.digest"),
        protector="SHA-256 of 256 random bits; the browser holds the only copy",
        lifetime="hours; rotated and revocable",
        audit="start and end are audit entries",
    ),
    Kept(
        kind="sign-ins of the command line",
        elsewhere="each person's own machine: a file of mode 0600 that `keylease login` writes",
        protector="the file system's permissions on that machine",
        holder="the person's own processes",
        lifetime="as sessions",
        audit="start and end are audit entries",
    ),
    Kept(
        kind="enrolment codes of gateways",
        columns=("enrolment_codes.digest",),
        protector="SHA-256; shown once, never kept",
        lifetime="minutes to days, used once",
        audit="making, using and withdrawing one are audit entries",
    ),
    Kept(
        kind="fingerprints of found secrets",
        columns=("inventory_fingerprints.fingerprint", "inventory_reported.fingerprint"),
        protector="HMAC-SHA-256 under a key that scanners and gateways hold, and not the database",
        lifetime="as long as the inventory knows the secret",
        audit="every scan that is taken, and every change of a secret's record, is an audit entry",
    ),
    Kept(
        kind="what people send by mistake",
        files=("traces/log/*", "traces/store/**", "traces/set-aside/**"),
        columns=("call_records.record", "call_records_set_aside.record", "audit_set_aside.data"),
        protector="masked before it is written: what looks like a secret is not kept",
        lifetime="never written; the text around it as long as its project keeps spans",
        audit="a secret that was masked in a span becomes a finding of the inventory",
    ),
    Kept(
        kind="back-ups of spans",
        files=("traces/backups/**",),
        protector=_FILE_MODE + "; masked like the spans that they are copies of",
        lifetime="until it is removed, or taken elsewhere; spans that are removed for good since "
        "it was made stay in it",
        audit="each one that is begun or removed by API is an audit entry",
    ),
    Kept(
        kind="back-ups before an upgrade",
        files=("*.backup-*",),
        protector=_FILE_MODE + "; what is in the database, as it is protected there",
        lifetime="until somebody removes them",
        audit="not written down; the start of the server says it in its log",
    ),
    Kept(
        kind="TLS key of the server's address",
        elsewhere="not here: the server speaks HTTP, and a proxy before it ends TLS",
        protector="whoever runs the proxy",
        holder="the proxy",
        lifetime="as its certificate",
        audit="none",
    ),
)
"""Every kind there is in every installation."""


def platform_secrets(
    *, directory: str, isolation: str, database: URL, api_key_days: int
) -> tuple[HeldSecret, ...]:
    """Each with where it is: ``directory`` is the platform's own."""
    in_words = database_in_words(database)
    held = [
        HeldSecret(
            kind=one.kind,
            location=_location(one, directory, in_words),
            protector=one.protector,
            holder=one.holder,
            isolation=isolation if one.holder == _PROCESS else "not known: not this installation's",
            lifetime=one.lifetime.format(api_key_days=api_key_days),
            audit=one.audit,
        )
        for one in KEPT
    ]
    if database.get_backend_name() == "postgresql":
        held.append(_database_sign_in(database, isolation))
    return tuple(held)


def database_in_words(database: URL) -> str:
    """Where the database is; without user and password."""
    if database.get_backend_name() == "sqlite":
        return "SQLite in the platform's own directory"
    return f"the PostgreSQL database {database.database or ''} {_place(database)}".strip()


def database_weaknesses(database: URL) -> tuple[Weakness, ...]:
    """What weakens the way to the database."""
    if database.get_backend_name() == "sqlite" or _is_local(database):
        return ()
    verified = str(database.query.get("ssl", "")) in {"verify-ca", "verify-full"}
    if verified or "sslrootcert" in database.query:
        return ()
    return (
        Weakness(
            severity=Severity.WARNING,
            what=f"The connection to the database {_place(database)} does not verify its "
            "certificate.",
            advice="Add ?ssl=verify-full&sslrootcert=/path/of/its/authority.pem to the address.",
        ),
    )


def _location(one: Kept, directory: str, database: str) -> str:
    places = [f"{directory}/{pattern}" for pattern in one.files]
    if one.columns:
        places.append(f"{database}: {', '.join(one.columns)}")
    return "; ".join(places) or one.elsewhere


def _database_sign_in(database: URL, isolation: str) -> HeldSecret:
    file = database.query.get("passfile") or database.query.get("sslkey")
    return HeldSecret(
        kind="sign-in to the database",
        location=str(file)
        if file
        else "no password: the operating system's user, or a trusted "
        "address, as PostgreSQL's pg_hba.conf says",
        protector=_FILE_MODE if file else "PostgreSQL's own rules",
        holder=_PROCESS,
        isolation=isolation,
        lifetime="until it is changed in PostgreSQL",
        audit="PostgreSQL's own log; nothing is written down here",
    )


def _place(database: URL) -> str:
    host = _host(database)
    return "by a socket of this machine" if host.startswith("/") else f"at {host}"


def _host(database: URL) -> str:
    named = database.host or database.query.get("host") or "localhost"
    return named if isinstance(named, str) else named[0]


def _is_local(database: URL) -> bool:
    host = _host(database)
    return host.startswith("/") or host in {"localhost", "127.0.0.1", "::1"}
