"""Whatever gateway.toml can name that is, or leads to, a secret is told to the trust report."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from keylease.contracts.purposes import Purpose
from keylease.contracts.references import SCHEMES
from keylease.contracts.self_report import OwnSecret, SecretReport
from keylease.strongroom.configuration import (
    ConnectorSettings,
    GatewayConfiguration,
    PlatformSettings,
    SpoolSettings,
    StaticKeyUse,
    StoreSettings,
    VerificationSettings,
)
from keylease.strongroom.gateway.own_secrets import own_secrets
from keylease.strongroom.gateway.self_description import protector_in_words

PUBLIC = {
    # Certificates of authorities, and our own: anybody may read them.
    "ConnectorSettings.ca_file",
    "VerificationSettings.ca_file",
    "StoreSettings.vault_ca_file",
    "PlatformSettings.ca_file",
    "GatewayConfiguration.upstream_ca_file",
    "GatewayConfiguration.tls_certificate_file",
    "GatewayConfiguration.tls_client_ca_file",
    # A fingerprint, and a file of rules.
    "PlatformSettings.policy_key",
    "GatewayConfiguration.policy_file",
    # Told for themselves: SelfReport.signing_key_scheme and its store.
    "GatewayConfiguration.signing_key",
    "GatewayConfiguration.static_keys",
}
"""What looks like a secret by its name, and is none."""
ALL = GatewayConfiguration(
    path="/etc/keylease/gateway.toml",
    tls_certificate_file="/PUBLIC",
    tls_key_file="/named/GatewayConfiguration.tls_key_file",
    platform=PlatformSettings(
        url="https://platform.example.com",
        fingerprint_key_file="/named/PlatformSettings.fingerprint_key_file",
    ),
    static_keys=StaticKeyUse(purpose=Purpose.EVAL, environment="ci"),
    connectors=(
        ConnectorSettings(
            name="ci", system="github", reference="file:///named/ConnectorSettings.reference"
        ),
    ),
    stores=StoreSettings(
        vault_address="https://vault.example.com",
        vault_token_file="/named/StoreSettings.vault_token_file",
        vault_role_id_file="/named/StoreSettings.vault_role_id_file",
        vault_secret_id_file="/named/StoreSettings.vault_secret_id_file",
        vault_jwt_file="/named/StoreSettings.vault_jwt_file",
        sealed_key_file="/named/StoreSettings.sealed_key_file",
    ),
    spool=SpoolSettings(otlp_headers_file="/named/SpoolSettings.otlp_headers_file"),
)


def named_by_configuration() -> Iterator[str]:
    for kind in (
        GatewayConfiguration,
        StoreSettings,
        PlatformSettings,
        ConnectorSettings,
        VerificationSettings,
        SpoolSettings,
    ):
        for field in msgspec.structs.fields(kind):
            if any(word in field.name for word in ("file", "key", "reference", "token", "secret")):
                yield f"{kind.__name__}.{field.name}"


def told(configuration: GatewayConfiguration) -> tuple[SecretReport, ...]:
    return own_secrets(
        configuration, directory=Path("/data/strongroom"), sealing_key_file=Path("/sealing.key")
    )


def test_a_setting_that_names_a_secret_is_told() -> None:
    passphrase = msgspec.structs.replace(
        ALL,
        stores=StoreSettings(sealed_passphrase_file="/named/StoreSettings.sealed_passphrase_file"),
    )
    said = " ".join(one.location for one in (*told(ALL), *told(passphrase)))
    silent = {name for name in named_by_configuration() if f"/named/{name}" not in said}
    directories = {"StoreSettings.file_directories"}  # provider keys, told one by one
    assert silent == PUBLIC | directories


def test_every_kind_is_told_with_all_answers() -> None:
    reports = told(ALL)
    assert {one.kind for one in reports} == set(OwnSecret)
    for one in reports:
        assert all((one.location, one.protector, one.holder, one.lifetime, one.audit)), one.kind
    plain = {one.kind for one in told(GatewayConfiguration(path="/g"))}
    assert OwnSecret.LINK_KEY not in plain
    assert OwnSecret.SEALED_STORE_KEY in plain


def test_every_scheme_of_references_has_a_protector() -> None:
    for scheme in SCHEMES:
        assert protector_in_words(scheme, StoreSettings()) != "not known"
