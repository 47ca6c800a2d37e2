"""Base URLs of upstreams: what may stand in ``Credential.upstream``.

One reader for the gateway, which connects there, and for the platform, which shows where a
credential goes. Each function raises ``ValueError`` that says what was expected, never what was
given.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple

_HOST: Final = re.compile(
    r"(?=.{1,253}\Z)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
_ORIGIN: Final = re.compile(r"(?:(https?)://)?(\[[0-9a-f:.]+\]|[a-z0-9.-]+)(?::([0-9]{1,5}))?/?")
_BASE_URL: Final = re.compile(r"(https?://[A-Za-z0-9.:\[\]-]+)((?:/[A-Za-z0-9._~-]+)*/?)")
_DEFAULT_PORTS: Final = {"https": 443, "http": 80}
_HIGHEST_PORT: Final = 65535


class OriginParts(NamedTuple):
    """Scheme, host (an IPv6 address without brackets) and port."""

    scheme: str
    host: str
    port: int


def read_host(text: str) -> str:
    """A host name in lower case, or an IP address without brackets in its shortest form."""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    # A name whose last label is a number would be read as an address by some resolvers.
    if _HOST.fullmatch(text) is None or text.rpartition(".")[2].isdigit():
        raise ValueError("a host name or an IP address")
    return text


def read_port(text: str, *, minimum: int = 1) -> int:
    """A port number."""
    if not (text.isascii() and text.isdigit()) or not minimum <= int(text) <= _HIGHEST_PORT:
        raise ValueError("a port number")
    return int(text)


def read_origin(text: str) -> OriginParts:
    """``api.openai.com``, ``https://llm.internal:8443``, ``http://127.0.0.1:9000``."""
    match = _ORIGIN.fullmatch(text.lower())
    expected = 'a host such as "api.example.com" or "https://llm.internal:8443", without a path'
    if match is None:
        raise ValueError(expected)
    scheme = match[1] or "https"
    try:
        host = read_host(match[2])
        port = read_port(match[3] or str(_DEFAULT_PORTS[scheme]))
    except ValueError:
        raise ValueError(expected) from None
    return OriginParts(scheme, host, port)


def read_base_url(text: str) -> OriginParts:
    """The origin of a base URL, which may have a path and nothing else behind the host."""
    expected = 'a base URL such as "https://llm.internal:8443/v1"'
    match = _BASE_URL.fullmatch(text)
    if match is None or any(segment in (".", "..") for segment in match[2].split("/")):
        raise ValueError(expected)
    try:
        return read_origin(match[1])
    except ValueError:
        raise ValueError(expected) from None
