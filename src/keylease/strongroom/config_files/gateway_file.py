"""Reads gateway.toml, the file that fixes what this gateway may ever do.

Protects: a slip of the pen is an error with its line, never a setting that silently has no effect.
Does not protect: against a file that its owner wrote too wide.
Limits: 1 MiB; files that it names are not opened here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import is_pattern
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import SCHEMES, Reference
from keylease.errors import Diagnostic, GatewayFileInvalid, ReferenceInvalid
from keylease.strongroom.config_files import kinds
from keylease.strongroom.config_files.binding_table import read_binding
from keylease.strongroom.config_files.connector_table import read_connectors
from keylease.strongroom.config_files.platform_table import read_platform
from keylease.strongroom.config_files.positions import Position
from keylease.strongroom.config_files.reader import Document, Table, quoted
from keylease.strongroom.config_files.values import (
    parse_address,
    parse_duration,
    parse_origin,
    parse_size,
)
from keylease.strongroom.config_files.verification_table import read_verification
from keylease.strongroom.configuration import (
    Address,
    GatewayConfiguration,
    PlatformSettings,
    SpoolSettings,
    StaticKeyUse,
    StoreSettings,
    TrustedIssuer,
    WireLimits,
)

_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_DEFAULTS: Final = GatewayConfiguration(path="")
_TABLES: Final = (
    "gateway",
    "platform",
    "static_keys",
    "binding",
    "trusted_issuer",
    "connector",
    "verification",
    "stores",
    "limits",
    "spool",
)


class VaultAuth(StrEnum):
    """How the gateway signs in to Vault or OpenBao."""

    TOKEN = "token"  # noqa: S105 - the name of a method
    APPROLE = "approle"
    JWT = "jwt"
    KUBERNETES = "kubernetes"


class LoadedGateway(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway.toml without mistakes."""

    configuration: GatewayConfiguration
    warnings: tuple[Diagnostic, ...]
    places: Mapping[str, Position]
    """Binding id -> where it begins."""


def load_gateway(path: Path) -> GatewayConfiguration:
    """Read gateway.toml; raises ``GatewayFileInvalid`` with every mistake in it."""
    return read_gateway(path).configuration


def read_gateway(path: Path) -> LoadedGateway:
    """As ``load_gateway``, with the warnings and places."""
    path = path.absolute()
    document = Document(path, GatewayFileInvalid)
    root = document.root(_TABLES)
    gateway = root.table("gateway")
    listen = _listen(gateway)
    certificate, key = _tls(gateway, path)
    platform = read_platform(root, gateway, path)
    bindings = tuple(
        read_binding(table, number) for number, table in enumerate(root.tables("binding"), start=1)
    )
    configuration = GatewayConfiguration(
        path=str(path),
        group=gateway.parsed("group", str, _group, _DEFAULTS.group, expected='"local"'),
        listen=listen,
        public_urls=gateway.each(
            "public_urls", _public_url, expected='"https://gateway.example.com"'
        ),
        metrics=_metrics(gateway, listen),
        workers=gateway.integer("workers", _DEFAULTS.workers, minimum=1, maximum=64),
        tls_certificate_file=certificate,
        tls_key_file=key,
        tls_client_ca_file=_client_ca(gateway, path, certificate),
        upstream_ca_file=kinds.file(gateway, "upstream_ca", path),
        policy_file=_policy_file(gateway, path, platform),
        platform=platform,
        static_keys=_static_keys(root),
        signing_key=_signing_key(gateway),
        maximum_lease_seconds=_whole_seconds(gateway, "maximum_lease"),
        bindings=bindings,
        trusted_issuers=_issuers(root, path),
        connectors=read_connectors(root, path),
        verification=read_verification(root, path),
        stores=_stores(root.table("stores"), path),
        limits=_limits(root.table("limits")),
        spool=_spool(root.table("spool"), path),
    )
    gateway.finish()
    root.finish()
    return LoadedGateway(
        configuration=configuration,
        warnings=document.finish(),
        places={
            binding.id: document.position(("binding", number))
            for number, binding in enumerate(bindings)
        },
    )


# --- [gateway] -----------------------------------------------------------------------------


def _group(text: str) -> str:
    if _GROUP.fullmatch(text) is None:
        raise ValueError("a name of letters, digits and . _ - with at most 64 characters")
    return text


def _public_url(text: str) -> str:
    origin = parse_origin(text)
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    usual = {"https": 443, "http": 80}[origin.scheme] == origin.port
    return f"{origin.scheme}://{host}" if usual else f"{origin.scheme}://{host}:{origin.port}"


def _listen(gateway: Table) -> tuple[Address, ...]:
    found = gateway.each("listen", parse_address, expected='"127.0.0.1:4141"')
    if gateway.take("listen") == []:
        gateway.report(
            "listen",
            "listen is empty: nothing could reach the gateway.",
            'Write: listen = "127.0.0.1:4141"',
        )
    return found or _DEFAULTS.listen


def _metrics(gateway: Table, listen: tuple[Address, ...]) -> Address | None:
    if gateway.take("metrics") is False:
        return None
    expected = '"127.0.0.1:4142", or false for none'
    metrics = gateway.parsed("metrics", str, parse_address, _DEFAULTS.metrics, expected=expected)
    if metrics is not None and not kinds.is_loopback(metrics.host):
        gateway.report(
            "metrics",
            "metrics must be an address of this machine: the numbers are not protected.",
            'Write: metrics = "127.0.0.1:4142"',
        )
    if metrics is not None and metrics.port != 0 and metrics in listen:
        gateway.report(
            "metrics",
            "metrics and listen have the same address.",
            "Give metrics a port of its own, or write: metrics = false",
        )
    return metrics


def _tls(gateway: Table, path: Path) -> tuple[str, str]:
    certificate = kinds.file(gateway, "tls_certificate", path)
    key = kinds.file(gateway, "tls_key", path)
    if bool(certificate) != bool(key):
        given, missing = ("tls_certificate", "tls_key")[:: 1 if certificate else -1]
        gateway.report(given, f"{given} is given without {missing}.", f'Write: {missing} = "..."')
    return certificate, key


def _client_ca(gateway: Table, path: Path, certificate: str) -> str:
    found = kinds.file(gateway, "tls_client_ca", path)
    if found and not certificate:
        gateway.report(
            "tls_client_ca",
            "Clients show certificates only where this gateway has one.",
            'Write: tls_certificate = "..." and tls_key = "..."',
        )
    return found


def _policy_file(gateway: Table, path: Path, platform: PlatformSettings | None) -> str:
    given = kinds.file(gateway, "policy", path)
    if platform is None:
        return given or str(path.parent / "keylease.toml")
    if given:
        gateway.report(
            "policy",
            "A gateway takes its policy from a file or from a platform, not from both.",
            "Take out policy, or [platform].",
        )
    return ""


def _static_keys(root: Table) -> StaticKeyUse | None:
    table = root.table("static_keys")
    if not table.values:
        return None
    purpose = table.choice("purpose", Purpose, Purpose.DEVELOPMENT)
    if purpose is Purpose.PRODUCTION:
        table.report(
            "purpose",
            "An API key in the place of a lease is for eval or development only.",
            'Write: purpose = "eval"',
        )
    environment = table.text("environment", required=True, expected='"local"')
    if environment and ("*" in environment or not is_pattern(environment)):
        table.report(
            "environment",
            "environment is one plain name, without *.",
            'Write: environment = "local"',
        )
    table.finish()
    return StaticKeyUse(purpose=purpose, environment=environment)


def _signing_key(gateway: Table) -> str:
    expected = f'"{_DEFAULTS.signing_key}"'
    return gateway.parsed("signing_key", str, _reference, _DEFAULTS.signing_key, expected=expected)


def _reference(text: str) -> str:
    try:
        canonical = str(Reference.parse(text))
    except ReferenceInvalid:
        forms = ", ".join(f"{scheme}://" for scheme in SCHEMES)
        raise ValueError(f"a reference to a secret store ({forms})") from None
    return canonical


def _whole_seconds(gateway: Table, key: str) -> int:
    def parse(text: str) -> int:
        seconds = parse_duration(text)
        if not 1 <= seconds <= LONGEST_LIFETIME or seconds != int(seconds):
            raise ValueError('from "1s" to "24h"')
        return int(seconds)

    return gateway.parsed(key, str, parse, _DEFAULTS.maximum_lease_seconds, expected='"15m"')


# --- the other tables ----------------------------------------------------------------------


def _issuers(root: Table, path: Path) -> tuple[TrustedIssuer, ...]:
    found: list[TrustedIssuer] = []
    for table in root.tables("trusted_issuer"):
        private = table.boolean("allow_private_address", default=False)
        issuer = kinds.url(table, "issuer", http=private, required=True)
        if issuer and issuer in [other.issuer for other in found]:
            table.report(
                "issuer",
                f"The issuer {quoted(issuer)} is listed twice.",
                "Take one of the two out.",
            )
        found.append(
            TrustedIssuer(
                issuer=issuer,
                jwks_url=kinds.url(table, "jwks_url", http=private),
                allow_private_address=private,
                ca_file=kinds.file(table, "ca_file", path),
            )
        )
        table.finish()
    return tuple(found)


def _stores(table: Table, path: Path) -> StoreSettings:
    defaults = _DEFAULTS.stores
    sealed, vault, aws = table.table("sealed"), table.table("vault"), table.table("aws")
    settings = StoreSettings(
        maximum_age_seconds=kinds.seconds(table, "maximum_age", defaults.maximum_age_seconds),
        grace_seconds=kinds.seconds(table, "grace", defaults.grace_seconds, minimum=0),
        timeout_seconds=kinds.seconds(table, "timeout", defaults.timeout_seconds, maximum=60),
        attempts=table.integer("attempts", defaults.attempts, minimum=1, maximum=10),
        file_directories=table.each(
            "file_directories", kinds.absolute_directory, expected='"/run/secrets"'
        ),
        vault_address=kinds.url(vault, "address", http=True),
        vault_namespace=vault.text("namespace"),
        vault_auth=vault.choice("auth", VaultAuth, VaultAuth.TOKEN).value,
        vault_auth_mount=vault.text("auth_mount"),
        vault_role=vault.text("role"),
        vault_token_file=kinds.file(vault, "token_file", path),
        vault_role_id_file=kinds.file(vault, "role_id_file", path),
        vault_secret_id_file=kinds.file(vault, "secret_id_file", path),
        vault_jwt_file=kinds.file(vault, "jwt_file", path),
        vault_ca_file=kinds.file(vault, "ca_file", path),
        aws_endpoint=kinds.url(aws, "endpoint", http=True),
        aws_version_stage=aws.text("version_stage", defaults.aws_version_stage),
        sealed_key_file=kinds.file(sealed, "key_file", path),
        sealed_passphrase_file=kinds.file(sealed, "passphrase_file", path),
    )
    _check_vault(vault, settings)
    if settings.sealed_key_file and settings.sealed_passphrase_file:
        sealed.report(
            "passphrase_file",
            "A sealed store has a key file or a passphrase, not both.",
            "Take out key_file, or passphrase_file.",
        )
    for part in (table, sealed, vault, aws):
        part.finish()
    return settings


def _check_vault(vault: Table, settings: StoreSettings) -> None:
    needed = {
        VaultAuth.TOKEN: (),
        VaultAuth.APPROLE: ("role_id_file",),
        VaultAuth.JWT: ("role", "jwt_file"),
        VaultAuth.KUBERNETES: ("role",),
    }[VaultAuth(settings.vault_auth)]
    for key in needed:
        if not vault.take(key):
            vault.report(
                "auth",
                f"auth = {quoted(settings.vault_auth)} needs {key}.",
                f'Write: {key} = "..."',
            )
    if vault.values and not settings.vault_address and not vault.damaged:
        vault.report("address", "address is missing.", 'Write: address = "https://vault:8200"')


def _limits(table: Table) -> WireLimits:
    defaults = _DEFAULTS.limits

    def size(key: str, default: int, maximum: int) -> int:
        def parse(value: str | int) -> int:
            found = parse_size(value)
            if not 1024 <= found <= maximum:  # noqa: PLR2004 - below that no request fits
                raise ValueError(f"from 1 KiB to {maximum} bytes")
            return found

        return table.parsed(key, (str, int), parse, default, expected='"64 MiB"')

    limits = WireLimits(
        header_bytes=size("header_size", defaults.header_bytes, 1024**2),
        body_bytes=size("body_size", defaults.body_bytes, 1024**3),
        upload_bytes=size("upload_size", defaults.upload_bytes, 16 * 1024**3),
        header_seconds=kinds.seconds(table, "header_timeout", defaults.header_seconds),
        body_seconds=kinds.seconds(table, "body_timeout", defaults.body_seconds),
        idle_seconds=kinds.seconds(table, "idle_timeout", defaults.idle_seconds),
        upstream_connect_seconds=kinds.seconds(
            table, "upstream_connect_timeout", defaults.upstream_connect_seconds
        ),
        upstream_response_seconds=kinds.seconds(
            table, "upstream_response_timeout", defaults.upstream_response_seconds
        ),
        upstream_connections=table.integer(
            "upstream_connections", defaults.upstream_connections, minimum=1, maximum=100_000
        ),
        client_connections=table.integer(
            "client_connections", defaults.client_connections, minimum=1, maximum=1_000_000
        ),
        drain_seconds=kinds.seconds(table, "drain_timeout", defaults.drain_seconds, minimum=0),
    )
    table.finish()
    return limits


def _spool(table: Table, path: Path) -> SpoolSettings:
    def parse(value: str | int) -> int:
        found = parse_size(value)
        if found < 1024**2:
            raise ValueError("at least 1 MiB")
        return found

    defaults = _DEFAULTS.spool
    private = table.boolean("otlp_allow_private_address", default=False)
    settings = SpoolSettings(
        maximum_bytes=table.parsed(
            "maximum_size", (str, int), parse, defaults.maximum_bytes, expected='"512 MiB"'
        ),
        otlp_endpoint=kinds.url(table, "otlp_endpoint", http=True),
        otlp_headers_file=kinds.file(table, "otlp_headers_file", path),
        otlp_allow_private_address=private,
    )
    table.finish()
    return settings
