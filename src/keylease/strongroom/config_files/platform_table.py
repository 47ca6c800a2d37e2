"""Reads [platform] of gateway.toml: where this gateway takes its policy from."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keylease.contracts.enrolment_codes import is_fingerprint
from keylease.strongroom.config_files import kinds
from keylease.strongroom.config_files.reader import Table
from keylease.strongroom.config_files.values import parse_origin
from keylease.strongroom.configuration import PlatformSettings

_WEEK: Final = 7 * 86_400
_DEFAULTS: Final = PlatformSettings(url="")


def read_platform(root: Table, gateway: Table, path: Path) -> PlatformSettings | None:
    """The table, or ``None`` when the file has none. ``path`` is that of gateway.toml."""
    if gateway.take("platform") is not None:
        gateway.report(
            "platform",
            "The platform has a table of its own.",
            'Write: [platform] and, in it, url = "https://keylease.example.com"',
        )
    table = root.table("platform")
    if not table.values and not table.damaged:
        return None
    url = kinds.url(table, "url", http=True, required=True)
    if url:
        url = _origin(table, url)
    settings = PlatformSettings(
        url=url,
        policy_key=table.parsed(
            "policy_key", str, _fingerprint, _DEFAULTS.policy_key, expected='"sha256:..."'
        ),
        ca_file=kinds.file(table, "ca_file", path),
        fingerprint_key_file=kinds.file(table, "fingerprint_key", path),
        maximum_bundle_age_seconds=kinds.seconds(
            table,
            "maximum_bundle_age",
            _DEFAULTS.maximum_bundle_age_seconds,
            minimum=1,
            maximum=_WEEK,
        ),
    )
    table.finish()
    return settings


def _origin(table: Table, url: str) -> str:
    parts = urlsplit(url)
    if parts.path not in ("", "/"):
        table.report(
            "url",
            "url is the platform's address without a path.",
            f'Write: url = "{parts.scheme}://{parts.netloc}"',
        )
    origin = parse_origin(f"{parts.scheme}://{parts.netloc}")
    if origin.scheme == "http" and not kinds.is_loopback(origin.host):
        table.report(
            "url",
            "Without TLS the platform may only be on this machine.",
            'Write: url = "https://..."',
        )
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    usual = {"https": 443, "http": 80}[origin.scheme] == origin.port
    return f"{origin.scheme}://{host}" if usual else f"{origin.scheme}://{host}:{origin.port}"


def _fingerprint(text: str) -> str:
    if not is_fingerprint(text):
        raise ValueError("a fingerprint: sha256: and 64 hexadecimal digits")
    return text
