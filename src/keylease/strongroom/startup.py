"""How each kind of strongroom process starts: harden, open, confine, and only then work."""

from __future__ import annotations

import importlib
from pathlib import Path

import msgspec

from keylease.primitives.clock import SystemClock
from keylease.strongroom.configuration import Address, GatewayConfiguration
from keylease.strongroom.data_directory import open_data_directory
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.options import GatewayOptions, WorkerOptions


def run_gateway(options: GatewayOptions) -> int:
    """Start the coordinator; returns when it has drained."""
    from keylease.strongroom.gateway_file import load_gateway  # noqa: PLC0415 - hardened first

    configuration = _with_port(load_gateway(Path(options.gateway_file)), options.port)
    with open_data_directory(Path(options.data_directory), clock=SystemClock()) as directory:
        coordinator = importlib.import_module("keylease.strongroom.gateway.coordinator")
        status: int = coordinator.main(
            options, configuration=configuration, data_directory=directory, posture=Posture()
        )
        return status


def run_worker(options: WorkerOptions) -> int:
    """Start a worker; returns when it has drained."""
    worker = importlib.import_module("keylease.strongroom.gateway.worker")
    status: int = worker.main(options)
    return status


def run_secret(name: str, arguments: list[str]) -> int:
    """Run one command of the sealed store."""
    commands = importlib.import_module("keylease.strongroom.secret_commands")
    status: int = commands.main(name, arguments)
    return status


def _with_port(configuration: GatewayConfiguration, port: int | None) -> GatewayConfiguration:
    if port is None or not configuration.listen:
        return configuration
    first, *others = configuration.listen
    return msgspec.structs.replace(
        configuration, listen=(Address(host=first.host, port=port), *others)
    )
