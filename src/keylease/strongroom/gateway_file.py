"""Reads gateway.toml, the file that fixes what this gateway may ever do."""

from __future__ import annotations

from pathlib import Path

from keylease.strongroom.configuration import GatewayConfiguration


def load_gateway(path: Path) -> GatewayConfiguration:
    """Read gateway.toml; raises ``GatewayFileInvalid`` with every mistake in it."""
    raise NotImplementedError
