"""``python -I -m keylease.strongroom connector``: ask a listed system what it keeps.

stdout gets one line of JSON, a ``findings.ScanReport``; stderr gets talk; neither gets a secret.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from keylease.contracts.findings import ScanReport
from keylease.contracts.references import Reference
from keylease.errors import ConnectorUnknown
from keylease.primitives.clock import Clock, SystemClock
from keylease.primitives.fingerprints import FingerprintKeys, read_keys
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.configuration import ConnectorSettings, GatewayConfiguration
from keylease.strongroom.connectors.aws_sm import AwsSecretsManager
from keylease.strongroom.connectors.interfaces import Connector
from keylease.strongroom.connectors.listing import report_of
from keylease.strongroom.connectors.registry import connector_of
from keylease.strongroom.connectors.session import Session
from keylease.strongroom.connectors.vault import Vault
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import env
from keylease.strongroom.stores.registry import StoreRegistry, build_stores, environment_names


def main(arguments: Sequence[str], *, clock: Clock | None = None) -> int:
    """List what one connector's system keeps. Raises ``KeyleaseError``."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--fingerprint-key", type=Path)
    parser.add_argument("--values", action="store_true")
    parser.add_argument("name")
    options = parser.parse_args(arguments)
    configuration = load_gateway(options.gateway_file)
    report = asyncio.run(
        list_kept(
            connector_settings(configuration, options.name),
            configuration=configuration,
            data_directory=options.data_dir,
            keys=read_keys(options.fingerprint_key) if options.fingerprint_key else None,
            values=options.values,
            clock=clock or SystemClock(),
        )
    )
    sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
    return 0


def connector_settings(configuration: GatewayConfiguration, name: str) -> ConnectorSettings:
    """The connector of that name. Raises ``ConnectorUnknown``."""
    for settings in configuration.connectors:
        if settings.name == name:
            return settings
    known = ", ".join(settings.name for settings in configuration.connectors) or "none"
    raise ConnectorUnknown(
        f"gateway.toml lists no connector {name[:64]!r}.",
        advice=f"Listed: {known}. docs/guides/connectors.md shows how to add one.",
    )


async def list_kept(
    settings: ConnectorSettings,
    *,
    configuration: GatewayConfiguration,
    data_directory: Path,
    keys: FingerprintKeys | None,
    values: bool,
    clock: Clock,
) -> ScanReport:
    """The report of one connector. Raises ``ConnectorError`` or ``StoreError``."""
    reference = Reference.parse(settings.reference) if settings.reference else None
    names = set(environment_names(configuration.stores))
    if reference is not None and reference.scheme == "env":
        names.add(reference.path)
    environment = env.receive(env.handover(names))
    connector = connector_of(settings.system)
    if isinstance(connector, AwsSecretsManager):
        connector = AwsSecretsManager(
            configuration.stores.aws_endpoint,
            identity=environment,
            role=settings.role,
            sts_endpoint=settings.url,
        )
    elif isinstance(connector, Vault):
        connector = Vault(namespace=settings.namespace)
    headers = connector.authentication(Secret(b""))
    if reference is not None:
        stores = build_stores(
            configuration.stores,
            data_directory=data_directory,
            environment=environment,
            clock=clock,
            config_directory=Path(configuration.path).parent,
        )
        headers = await _authentication(connector, reference, stores)
    session = Session(
        system=connector.title,
        origin=settings.url or connector.origin or "https://unused.invalid",
        headers=headers,
        allow_private=settings.allow_private_address,
        ca_file=settings.ca_file or None,
    )
    try:
        found = connector.inventory(session, settings.account, values=values)
        return await report_of(connector, settings.account, found, keys=keys, clock=clock)
    finally:
        await session.close()


async def _authentication(
    connector: Connector, reference: Reference, stores: StoreRegistry
) -> dict[str, str]:
    try:
        fetched = await stores.fetch(reference)
        try:
            return connector.authentication(fetched.secret)
        finally:
            fetched.secret.wipe()
    finally:
        await stores.close()
