"""The secrets that a gateway handles besides the keys of providers, for the trust report.

Protects: it is made of the configuration, and names files and references; it reads none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.contracts.self_report import OwnSecret, SecretReport
from keylease.contracts.trace_tokens import LONGEST_TRACE_TOKEN
from keylease.strongroom.configuration import GatewayConfiguration, StoreSettings
from keylease.strongroom.stores.versions import FILE_NAME as VERSION_KEY_FILE

_FILE_MODE: Final = "the file system's permissions (mode 0600)"
_GIVEN: Final = "the file system's permissions, as whoever put the file there has set them"
_UNTIL_REPLACED: Final = "until its owner replaces it"
_FETCHES: Final = "every fetch with it is an audit entry"
_NOT_WRITTEN_DOWN: Final = "its use is not written down one by one"


def own_secrets(
    configuration: GatewayConfiguration, *, directory: Path, sealing_key_file: Path
) -> tuple[SecretReport, ...]:
    """Each that this configuration has a use for.

    ``directory`` is the strongroom's part of the data directory; ``sealing_key_file`` is where the
    sealed store's key lies when no passphrase opens it.
    """
    return (
        *_of_leases(configuration),
        *_of_stores(configuration.stores, directory, sealing_key_file),
        *_of_connectors(configuration),
        *_of_the_link(configuration, directory),
        *_of_addresses(configuration),
    )


def _of_leases(configuration: GatewayConfiguration) -> Iterator[SecretReport]:
    yield SecretReport(
        kind=OwnSecret.LEASES,
        location="with whoever they were issued to; the gateway keeps none",
        protector="Ed25519 signature; a sender's key or certificate where a lease is bound to one",
        holder="the callers",
        lifetime=f"at most {configuration.maximum_lease_seconds // 60} minutes; revocable",
        audit="every lease that is issued, refused or revoked is an audit entry",
    )
    if configuration.static_keys is not None:
        yield SecretReport(
            kind=OwnSecret.STATIC_KEYS,
            location="with their owners; the gateway has SHA-256 of them in its policy bundle",
            protector=f"for {configuration.static_keys.purpose} only, under the same grants",
            holder="the callers; gateway: workers, while a call begins",
            lifetime="as the platform says of each",
            audit="every lease that such a key is exchanged for is an audit entry",
        )


def _of_stores(
    stores: StoreSettings, directory: Path, sealing_key_file: Path
) -> Iterator[SecretReport]:
    passphrase = stores.sealed_passphrase_file
    yield SecretReport(
        kind=OwnSecret.SEALED_STORE_KEY,
        location=f"{passphrase} (a passphrase)"
        if passphrase
        else str(stores.sealed_key_file or sealing_key_file),
        protector=_GIVEN if passphrase else f"{_FILE_MODE}, outside the data and every back-up",
        lifetime="until `keylease secret rekey`",
        audit=_FETCHES,
    )
    yield SecretReport(
        kind=OwnSecret.VERSION_KEY,
        location=str(directory / VERSION_KEY_FILE),
        protector=f"{_FILE_MODE}; who holds it can test a guess at a secret, and open nothing",
        lifetime="as long as the data directory",
        audit=_NOT_WRITTEN_DOWN,
    )
    if stores.vault_address:
        files = (
            stores.vault_token_file,
            stores.vault_role_id_file,
            stores.vault_secret_id_file,
            stores.vault_jwt_file,
        )
        yield SecretReport(
            kind=OwnSecret.STORE_SIGN_IN,
            subject="vault",
            location=", ".join(filter(None, files)) or "handed over from the environment",
            protector=_GIVEN,
            lifetime=f"as Vault or OpenBao gives it ({stores.vault_auth})",
            audit=_FETCHES,
        )
    yield SecretReport(
        kind=OwnSecret.STORE_SIGN_IN,
        subject="aws-sm",
        location="AWS's default credential chain: environment, files, or the machine's identity",
        protector="AWS, or the file system's permissions",
        lifetime="hours where the machine's identity is used",
        audit=_FETCHES,
    )


def _of_connectors(configuration: GatewayConfiguration) -> Iterator[SecretReport]:
    for one in configuration.connectors:
        yield SecretReport(
            kind=OwnSecret.CONNECTOR_CREDENTIAL,
            subject=one.name,
            location=one.reference or "AWS's default credential chain",
            protector="its secret store",
            holder="the strongroom process that asks; in memory only, and gone with it",
            lifetime=_UNTIL_REPLACED,
            audit="what it found is a scan of the inventory, which is an audit entry",
        )


def _of_the_link(configuration: GatewayConfiguration, directory: Path) -> Iterator[SecretReport]:
    if configuration.platform is None:
        return
    yield SecretReport(
        kind=OwnSecret.LINK_KEY,
        location=str(directory / "platform" / "key"),
        protector=_FILE_MODE,
        lifetime="until the gateway is revoked or enrolled again",
        audit="enrolment and revocation are audit entries",
    )
    yield SecretReport(
        kind=OwnSecret.TRACE_TOKENS,
        location="with whoever exchanged a lease for one; the gateway keeps none",
        protector="Ed25519 signature of the link key; it sends spans, and opens no model",
        holder="the callers, and the platform while it takes their spans",
        lifetime=f"at most {LONGEST_TRACE_TOKEN // 60} minutes, and never longer than the lease",
        audit="every one that is given or refused is an audit entry",
    )
    yield SecretReport(
        kind=OwnSecret.WITNESS_KEY,
        location=str(directory / "platform" / "witness-key"),
        protector=_FILE_MODE,
        lifetime="as long as the gateway is enrolled",
        audit="every checkpoint that it cosigned is kept beside the audit log",
    )
    if configuration.platform.fingerprint_key_file:
        yield SecretReport(
            kind=OwnSecret.FINGERPRINT_KEY,
            location=configuration.platform.fingerprint_key_file,
            protector=f"{_GIVEN}; who holds it can test a guess at a secret, and open nothing",
            holder="gateway: coordinator; scanners hold a copy",
            lifetime="until it is rotated",
            audit=_NOT_WRITTEN_DOWN,
        )


def _of_addresses(configuration: GatewayConfiguration) -> Iterator[SecretReport]:
    if configuration.tls_key_file:
        yield SecretReport(
            kind=OwnSecret.TLS_KEY,
            location=configuration.tls_key_file,
            protector=_GIVEN,
            holder="gateway: workers",
            lifetime="as its certificate",
            audit=_NOT_WRITTEN_DOWN,
        )
    if configuration.spool.otlp_headers_file:
        yield SecretReport(
            kind=OwnSecret.EXPORT_HEADERS,
            location=configuration.spool.otlp_headers_file,
            protector=_GIVEN,
            lifetime=_UNTIL_REPLACED,
            audit=_NOT_WRITTEN_DOWN,
        )
