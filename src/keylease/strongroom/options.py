"""What strongroom processes are started with. Handed in as arguments, never read from settings."""

from __future__ import annotations

from typing import Final

import msgspec

STRONGROOM_UID: Final = 61141
"""In the range that neither Debian nor systemd hands out (systemd's docs/UIDS-GIDS.md)."""


LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")


class GatewayOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``python -I -m keylease.strongroom gateway``: the coordinator."""

    gateway_file: str
    """Absolute path of gateway.toml."""
    data_directory: str
    port: int | None = None
    """Replaces the port of the first listening address."""
    user_id: int = STRONGROOM_UID
    """The user that the strongroom becomes when it is started as root."""
    stop_with_parent: bool = False
    """Drain when the process that started this one is gone."""
    handover: int | None = None
    """Descriptor with the values that ``env://`` references need; see ``stores.env``."""
    log_level: str = "info"
    log_format: str = "json"
    """``json`` or ``text``."""
    ready: int | None = None
    """Descriptor that gets one line of JSON (``ReadyMessage``) and is closed when the gateway
    takes calls."""


class WorkerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """``python -I -m keylease.strongroom worker``: started by the coordinator only."""

    channel: int
    """Descriptor of the worker's end of the socket pair."""
    listeners: tuple[int, ...]
    """Descriptors of the listening sockets."""
    number: int
    """Counts from 0."""
    readable: tuple[str, ...] = ()
    """Files it has to read besides the interpreter: certificates."""


class ReadyMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What a gateway says when it takes calls."""

    urls: tuple[str, ...]
    """Base URLs of the listeners, with the ports that were really bound."""
    metrics_url: str = ""
    control_socket: str
    posture: str
    """The posture in words, on one line."""
