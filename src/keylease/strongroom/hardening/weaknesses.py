"""What a configuration leaves open, in words: one sentence each that the reader can act on."""

from __future__ import annotations

import ipaddress
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keylease.contracts.leases import DEFAULT_LIFETIME
from keylease.contracts.policy import Limits, PolicyBundle
from keylease.primitives.confinement.measures import Measure
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.hardening.needs import files_among_others
from keylease.strongroom.hardening.posture import ISOLATING

_WORLD_READABLE: Final = 0o004


def weaknesses_of_process(
    measures: tuple[Measure, ...], *, shares_environment: bool
) -> tuple[str, ...]:
    """What the process itself could not be protected from."""
    found = []
    if not any(measure.on for measure in measures if measure.name in ISOLATING):
        found.append("zones not isolated: neither an own user nor Landlock protects the keys here")
    if shares_environment:
        found.append(
            "the strongroom shares its Python environment with other packages: give it its own"
            " with KEYLEASE_STRONGROOM_PYTHON"
        )
    return tuple(found)


def weaknesses_of_configuration(configuration: GatewayConfiguration) -> tuple[str, ...]:
    """What gateway.toml leaves open."""
    return tuple(_configuration(configuration))


def weaknesses_of_policy(bundle: PolicyBundle) -> tuple[str, ...]:
    """What the policy leaves open."""
    return tuple(_policy(bundle))


def _configuration(configuration: GatewayConfiguration) -> Iterator[str]:
    yield from _listeners(configuration)
    yield from _bindings(configuration)
    if configuration.stores.grace_seconds > 0:
        yield (
            "secrets are used past their age while their store is down"
            f" (grace period of {configuration.stores.grace_seconds:g} s)"
        )
    if configuration.maximum_lease_seconds > DEFAULT_LIFETIME:
        minutes = configuration.maximum_lease_seconds / 60
        yield f"leases may live {minutes:g} minutes: a stolen one is worth more"
    for name in files_among_others(configuration):
        yield (
            f"{name} is not read again after it was replaced, because its directory holds much"
            " else: move it into one of its own, or restart the gateway after a change"
        )
    for name in configuration.stores.file_directories:
        yield from _readable_by_all(Path(name))


def _listeners(configuration: GatewayConfiguration) -> Iterator[str]:
    if not configuration.tls_certificate_file:
        for address in configuration.listen:
            if not is_loopback(address.host):
                yield f"gateway listens on {address.host} without TLS"
    if configuration.metrics is not None and not is_loopback(configuration.metrics.host):
        yield f"metrics are served on {configuration.metrics.host}, beyond this machine"


def _bindings(configuration: GatewayConfiguration) -> Iterator[str]:
    for binding in configuration.bindings:
        for origin in binding.origins:
            if origin.scheme == "http" and not is_loopback(origin.host):
                yield f"{binding.id} sends its key to {origin.host} without TLS"


def _policy(bundle: PolicyBundle) -> Iterator[str]:
    unlimited = [
        repr(grant.name)
        for grant in bundle.grants
        if grant.limits == _without_period(grant.limits) and not grant.budgets
    ]
    if unlimited:
        yield f"leases without limits: grant {', '.join(unlimited)}"
    for grant in bundle.grants:
        if "*" in grant.principals:
            yield f"grant {grant.name!r} is open to every principal"
    for credential in bundle.credentials:
        if credential.upstream.startswith("http://") and not _loopback_url(credential.upstream):
            yield f"credential {credential.name!r} is sent without TLS"


def _without_period(limits: Limits) -> Limits:
    return Limits(budget_period=limits.budget_period)


def _readable_by_all(directory: Path) -> Iterator[str]:
    try:
        entries = list(os.scandir(directory))
    except OSError:
        return  # the store says so when a reference below it is used
    for entry in entries:
        status = entry.stat()
        if stat.S_ISREG(status.st_mode) and status.st_mode & _WORLD_READABLE:
            yield f"every user of this machine can read the secret file {entry.path}"


def is_loopback(host: str) -> bool:
    """Whether an address is reached from this machine only."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _loopback_url(url: str) -> bool:
    host = url.partition("://")[2].partition("/")[0]
    return is_loopback(host.rpartition(":")[0] if ":" in host else host)
