"""Which addresses an outbound request may reach.

Protects: against names and literals that lead to this machine, the private network, a cloud's
    metadata service, or to such an address inside an IPv6 form (mapped, compatible, 6to4, NAT64,
    Teredo, ISATAP). Every address of a name is checked; one bad one refuses the name.
Does not protect: against a public host that forwards to a private one.
Limits: the result is good for connecting to now. Whoever connects later, or by name, resolves
    again and must check again.

Special-purpose addresses: the IANA registries of RFC 6890 as of November 2026.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
)
from typing import Final, Protocol

import msgspec

from keylease.errors import EgressRefused

_MAXIMUM_ADDRESSES: Final = 64

_METADATA: Final = frozenset(
    ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, Oracle, DigitalOcean and others
        "169.254.170.2",  # AWS ECS task credentials
        "169.254.170.23",  # AWS EKS pod identity
        "100.100.100.200",  # Alibaba
        "168.63.129.16",  # Azure WireServer
        "192.0.0.192",  # Oracle Classic
        "fd00:ec2::254",  # AWS over IPv6
        "fd00:ec2::23",  # AWS EKS pod identity over IPv6
        "fd20:ce::254",  # Google over IPv6
    )
)

_NEVER_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # unspecified: reaches this machine on Linux
        "192.0.0.0/24",  # IETF protocol assignments
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, broadcast
    )
)
_PRIVATE_4: Final = tuple(
    IPv4Network(text)
    for text in (
        "10.0.0.0/8",
        "100.64.0.0/10",  # shared by carriers (CGNAT); Tailscale
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",  # benchmarking; Docker Desktop and VPNs use it
    )
)
_PRIVATE_6: Final = tuple(IPv6Network(text) for text in ("::1/128", "fc00::/7", "fe80::/10"))
_GLOBAL_6: Final = IPv6Network("2000::/3")
_NOT_GLOBAL_6: Final = tuple(
    IPv6Network(text)
    for text in (
        "2001::/23",  # IETF protocol assignments, Teredo among them
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4
        "3fff::/20",  # documentation
    )
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")
_MAPPED: Final = IPv6Network("::ffff:0:0/96")
_LOW_32: Final = 0xFFFF_FFFF
_ISATAP: Final = (0x0000_5EFE, 0x0200_5EFE)
"""Bits 64 to 95 of an ISATAP address (RFC 5214)."""


class Address(msgspec.Struct, frozen=True):
    """One checked address of a host. Connect to ``ip``; verify TLS against ``host``."""

    host: str
    """What was asked for."""
    ip: str
    port: int
    family: socket.AddressFamily
    private: bool
    """Loopback, private, link-local or a carrier's: not reached over the open internet."""


class Resolver(Protocol):
    """Gives the addresses of a name as text; raises ``OSError`` when there are none."""

    async def __call__(self, host: str, port: int, /) -> Sequence[str]:
        """Resolve once; no cache."""
        ...


async def resolve(host: str, port: int) -> Sequence[str]:
    """Ask the operating system."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP
    )
    return [str(entry[4][0]) for entry in found]


async def checked_addresses(
    host: str, port: int, *, allow_private: bool, resolver: Resolver = resolve
) -> list[Address]:
    """Resolve ``host`` and return its addresses, all of which may be reached.

    Raises ``EgressRefused`` when the name does not resolve or when any of its addresses is
    refused. ``allow_private`` admits loopback, private, link-local and carrier addresses;
    metadata services, multicast and reserved addresses are refused always.
    """
    try:
        texts = list(dict.fromkeys(await resolver(host, port)))
    except (OSError, UnicodeError) as error:
        raise EgressRefused(
            "The host's name does not resolve.", advice="Check the spelling and the network's DNS."
        ) from error
    if not 0 < len(texts) <= _MAXIMUM_ADDRESSES:
        raise EgressRefused("The host's name resolves to no address, or to too many.")
    return [
        Address(
            host=host,
            ip=str(address),
            port=port,
            family=_family(address),
            private=_kind(address) == "private",
        )
        for address in (check_address(text, allow_private=allow_private) for text in texts)
    ]


def check_address(text: str, *, allow_private: bool) -> IPv4Address | IPv6Address:
    """Parse an address and refuse it unless it may be reached; raises ``EgressRefused``."""
    try:
        address = ip_address(text)
    except ValueError as error:
        raise EgressRefused("The host resolves to something that is no address.") from error
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        raise EgressRefused("The host's address belongs to one network interface.")
    # 1. Metadata services, in every disguise, whatever is allowed.
    embedded = _embedded(address) if isinstance(address, IPv6Address) else []
    if any(candidate in _METADATA for candidate in (address, *embedded)):
        raise EgressRefused("The host is a cloud metadata service; it is never reached.")
    # 2. What is public is allowed; what is private only when configured; the rest never.
    kind = _kind(address)
    if kind == "public" or (kind == "private" and allow_private):
        return address
    if kind == "private":
        raise EgressRefused(
            "The host has a private, loopback or link-local address.",
            advice="List the host in gateway.toml if it is meant to be reached.",
        )
    raise EgressRefused("The host has an address that is reserved for other uses.")


def _kind(address: IPv4Address | IPv6Address) -> str:
    """``public``, ``private`` or ``never``."""
    if isinstance(address, IPv4Address):
        if any(address in network for network in _NEVER_4):
            return "never"
        return "private" if any(address in network for network in _PRIVATE_4) else "public"
    if address in _MAPPED or address in _NAT64:
        # The same host by another name: judged as the IPv4 address it leads to.
        return _kind(IPv4Address(int(address) & _LOW_32))
    if any(address in network for network in _PRIVATE_6):
        return "private"
    # Tunnels (6to4, Teredo, compatible, ISATAP, a local NAT64) may lead anywhere: never reached.
    outside = address not in _GLOBAL_6 or any(address in network for network in _NOT_GLOBAL_6)
    return "never" if outside or _is_isatap(address) else "public"


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that an IPv6 address may stand for."""
    value = int(address)
    found = [IPv4Address(value & _LOW_32)]  # mapped, compatible, NAT64 /96, ISATAP
    if address.sixtofour is not None:
        found.append(address.sixtofour)
    if address.teredo is not None:
        found.extend(address.teredo)
    if address in _NAT64_LOCAL:
        # RFC 6052 section 2.2, /48: two octets, one octet of zeros, two octets.
        found.append(IPv4Address(((value >> 64) & 0xFFFF) << 16 | ((value >> 40) & 0xFFFF)))
    return found


def _is_isatap(address: IPv6Address) -> bool:
    return (int(address) >> 32) & _LOW_32 in _ISATAP


def _family(address: IPv4Address | IPv6Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004 -- IPv4 is its own name
