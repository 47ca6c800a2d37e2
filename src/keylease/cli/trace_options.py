"""Where the server keeps spans, and with which fingerprint keys it masks them: flags, and checks.

Everything here is a setting as well; a flag decides for one start.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from keylease.errors import ConfigurationError
from keylease.platform.traces.store.address import check_cluster, server_address
from keylease.settings import Settings, load

TraceStoreUrl = Annotated[
    str | None,
    typer.Option(
        "--trace-store-url",
        metavar="URL",
        help="Keep spans on a ClickHouse server: clickhouse://user@host/database, without a"
        " password.",
        show_default=False,
    ),
]
TraceStorePasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--trace-store-password-file",
        metavar="FILE",
        help="The password of that user, mode 0600.",
        show_default=False,
    ),
]
TraceStoreCluster = Annotated[
    str | None,
    typer.Option(
        "--trace-store-cluster",
        metavar="NAME",
        help="Make the tables on every node of this cluster.",
        show_default=False,
    ),
]
TraceFingerprintKey = Annotated[
    list[str] | None,
    typer.Option(
        "--trace-fingerprint-key",
        metavar="[ORGANIZATION=]FILE",
        help="Mask secrets in spans with the fingerprint key that the organization's scanners and"
        " gateways have. May be given again; without ORGANIZATION it is for the first one.",
        show_default=False,
    ),
]


def server_settings(
    *,
    data_dir: Path | None,
    config_dir: Path | None,
    trace_store_url: str | None,
    trace_store_password_file: Path | None,
    trace_store_cluster: str | None,
    trace_fingerprint_key: Sequence[str] | None,
) -> Settings:
    """The settings with these flags. Raises ``SettingsInvalid``."""
    return load(
        {
            "data_dir": data_dir,
            "config_dir": config_dir,
            "trace_store_url": trace_store_url,
            "trace_store_password_file": trace_store_password_file,
            "trace_store_cluster": trace_store_cluster,
            "trace_fingerprint_key": ",".join(trace_fingerprint_key)
            if trace_fingerprint_key
            else None,
        }
    ).settings


def trace_members(settings: Settings) -> dict[str, object]:
    """Members of the server's configuration; none of them is a secret.

    Raises ``ConfigurationError``, for an address with a password in it among others: it would stand
    in the list of processes.
    """
    check_cluster(settings.trace_store_cluster)
    if settings.trace_store_url:
        server_address(settings.trace_store_url)
    elif settings.trace_store_cluster or settings.trace_store_password_file:
        raise ConfigurationError(
            "A cluster or a password of a trace store is set, and no trace_store_url.",
            advice="Name the ClickHouse server, or take the others out.",
        )
    return {
        "trace_store_url": settings.trace_store_url,
        "trace_store_password_file": settings.trace_store_password_file,
        "trace_store_cluster": settings.trace_store_cluster,
        "trace_fingerprint_keys": fingerprint_key_files(settings.trace_fingerprint_key),
    }


def fingerprint_key_files(text: str) -> Mapping[str, str]:
    """By organization; "" is the one that the installation began with."""
    files: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        organization, _, file = part.rpartition("=")
        files[organization] = file
    return files
