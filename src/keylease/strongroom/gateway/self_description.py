"""What this gateway says of itself for the trust report: made of its configuration and its state.

Protects: it names stores, patterns and measures; nothing in it was ever part of a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from keylease.contracts.policy import Credential
from keylease.contracts.self_report import (
    BindingReport,
    CredentialReport,
    MeasureReport,
    SelfReport,
    StoreReport,
)
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import GatewayConfiguration, StoreSettings
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialState
from keylease.strongroom.gateway.own_secrets import own_secrets
from keylease.strongroom.hardening.posture import ISOLATING, Posture
from keylease.strongroom.stores.registry import default_key_file


def self_report(
    configuration: GatewayConfiguration,
    posture: Posture,
    *,
    credentials: tuple[Credential, ...],
    states: Mapping[str, CredentialState],
    audit_entries_waiting: int,
    directory: Path,
    clock: Clock,
) -> SelfReport:
    """Everything, as it is now. A credential that was never fetched counts as available.

    ``directory`` is the strongroom's part of the data directory.
    """
    schemes = {_scheme(one.reference) for one in credentials}
    schemes.add(_scheme(configuration.signing_key))
    return SelfReport(
        made_at=clock.now(),
        measures=tuple(
            MeasureReport(name=one.name, on=one.on, reason=one.reason) for one in posture.measures
        ),
        warnings=posture.warnings,
        isolated=any(one.on for one in posture.measures if one.name in ISOLATING),
        listeners=tuple(f"{one.host}:{one.port}" for one in configuration.listen),
        tls=bool(configuration.tls_certificate_file),
        stores=tuple(
            StoreReport(scheme=scheme, protector=protector_in_words(scheme, configuration.stores))
            for scheme in sorted(schemes)
        ),
        bindings=tuple(
            BindingReport(
                reference=one.reference,
                provider=one.provider,
                hosts=tuple(f"{to.scheme}://{to.host}:{to.port}" for to in one.origins),
                purposes=tuple(purpose.value for purpose in one.purposes),
            )
            for one in configuration.bindings
        ),
        credentials=tuple(
            CredentialReport(
                credential_id=one.id,
                scheme=_scheme(one.reference),
                available=states[one.id].state != "failed" if one.id in states else True,
                code=states[one.id].error if one.id in states else "",
                checked_at=states[one.id].at if one.id in states else 0,
            )
            for one in credentials
        ),
        maximum_secret_age_seconds=round(configuration.stores.maximum_age_seconds),
        grace_seconds=round(configuration.stores.grace_seconds),
        maximum_lease_seconds=configuration.maximum_lease_seconds,
        signing_key_scheme=_scheme(configuration.signing_key),
        audit_entries_waiting=audit_entries_waiting,
        secrets=own_secrets(
            configuration,
            directory=directory,
            sealing_key_file=default_key_file(Path(configuration.path).parent),
        ),
    )


def protector_in_words(scheme: str, stores: StoreSettings) -> str:
    """Whose key or permission protects what lies in a store."""
    sealed_by = "a passphrase" if stores.sealed_passphrase_file else "a key file of mode 0600"
    words = {
        "sealed": f"AES-GCM, a data key for each entry, wrapped by {sealed_by} outside the data",
        "vault": f"Vault or OpenBao, signed in by {stores.vault_auth}",
        "aws-sm": "AWS Secrets Manager: KMS, and the permissions of the default credential chain",
        "keyring": "the operating system's keyring, unlocked by its user",
        "file": "the file system's permissions below the listed directories",
        "env": "nothing but the process's own memory: taken from the environment at the start",
    }
    return words.get(scheme, "not known")


def _scheme(reference: str) -> str:
    return reference.partition("://")[0]
