"""Kinds of values that several tables of gateway.toml have. Each reports what it does not take."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from keylease.strongroom.config_files.reader import Table
from keylease.strongroom.config_files.values import parse_duration, parse_origin

LONGEST_SECONDS: Final = 86_400


def seconds(
    table: Table,
    key: str,
    default: float,
    *,
    minimum: float = 0.001,
    maximum: float = LONGEST_SECONDS,
) -> float:
    """A time, in seconds."""

    def parse(text: str) -> float:
        found = parse_duration(text)
        if not minimum <= found <= maximum:
            raise ValueError(f"from {minimum:g}s to {maximum:g}s")
        return found

    return table.parsed(key, str, parse, default, expected='"30s"')


def file(table: Table, key: str, gateway_file: Path) -> str:
    """An absolute path; a relative one is relative to gateway.toml."""

    def parse(text: str) -> str:
        if text.startswith("~"):
            raise ValueError("a path without ~: the gateway may run as another user")
        if not text.strip() or not text.isprintable():
            raise ValueError("a path")
        return str(gateway_file.parent / text)

    return table.parsed(key, str, parse, "", expected='"/path/to/file"')


def absolute_directory(text: str) -> str:
    """A path from the root; raises ``ValueError``."""
    if not text.startswith("/") or ".." in text.split("/"):
        raise ValueError("an absolute path without ..")
    return text


def url(table: Table, key: str, *, http: bool, required: bool = False) -> str:
    """An address with nothing behind its path; ``http`` allows it without TLS."""
    schemes = ("https", "http") if http else ("https",)

    def parse(text: str) -> str:
        expected = "an address that begins with " + " or ".join(f"{s}://" for s in schemes)
        try:
            parts = urlsplit(text)
        except ValueError:
            raise ValueError(expected) from None
        if (
            parts.scheme not in schemes
            or "@" in parts.netloc
            or "?" in text
            or "#" in text
            or not (text.isascii() and text.isprintable())
            or " " in text
        ):
            raise ValueError(expected)
        parse_origin(f"{parts.scheme}://{parts.netloc}")
        return text

    return table.parsed(key, str, parse, "", expected='"https://example.com"', required=required)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: ``localhost``, or an address that says so."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
