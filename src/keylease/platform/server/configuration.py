"""What the platform's process is started with. Handed in as one JSON argument."""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.policy import PolicyBundle

DEFAULT_PORT: Final = 4140
PLATFORM_UID: Final = 61142
"""Beside the strongroom's, in the range that neither Debian nor systemd hands out."""


class ServerConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """``python -m keylease.platform JSON``."""

    data_directory: str
    """Absolute path of the platform's own directory, ``<data>/platform``; mode 0700."""
    database_url: str = ""
    """Empty is SQLite in the data directory."""
    without_backup: bool = False
    """Change the schema without a back-up of the database before: somebody has made one."""
    pg_dump: str = ""
    """PostgreSQL's program for back-ups; empty is the newest in the usual places."""
    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    public_url: str = ""
    """How people reach the server; empty is ``http://localhost:PORT``. Passkeys belong to its
    host, and its host is the only one that is answered."""
    private_hosts: tuple[str, ...] = ()
    """Hosts with private addresses that the platform may reach: outside issuers, webhooks."""
    trace_store_url: str = ""
    """A ClickHouse server for spans, without its password; empty is the engine in this process."""
    trace_store_password_file: str = ""
    trace_store_cluster: str = ""
    trace_fingerprint_keys: dict[str, str] = {}
    """Files of the fingerprint keys of organizations, by identifier; "" is the organization that
    the installation began with. An organization without one gets a key of the platform's own."""
    otlp_grpc: str = ""
    """Host and port at which spans are taken by OTLP over gRPC; empty is not at all."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses whose ``X-Forwarded-For`` is believed."""
    user_id: int = PLATFORM_UID
    """The user that the platform becomes when it is started as root."""
    first_policy: PolicyBundle | None = None
    """Published at the very first start, when there is no policy yet."""
    local_group: str = ""
    """The gateway group of the gateway that is started beside this server; while none of that
    group is enrolled, the ready message carries a code."""
    same_machine: bool = False
    """The gateways run on this machine, too: as witnesses of the audit log they prove little."""
    promises_file: str = ""
    """Last results of the promise tests; empty or absent means not verified."""
    log_level: str = "info"
    log_format: str = "json"
    ready: int | None = None
    """Descriptor that gets one line of JSON (``ServerReady``) when requests are answered."""
    stop_with_parent: bool = False
    """End when the process that started this one is gone."""


class ServerReady(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says when it answers requests."""

    url: str
    sign_in_link: str = ""
    """The owner's one-time link, as long as nobody has finished setting up."""
    enrolment_code: str = ""
    """By which the gateway beside this server joins; short-lived, used once."""
    posture: str = ""
    """The posture in words, on one line."""
