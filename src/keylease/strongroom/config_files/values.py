"""Values that configuration files write in words: durations, sizes, money, addresses, hosts.

Each function raises ``ValueError`` whose text says what was expected, never what was given.
Amounts are exact: no binary fraction is ever involved.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

from keylease.contracts import base_urls
from keylease.contracts.patterns import is_pattern
from keylease.strongroom.configuration import Address, Origin

_DURATION: Final = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?"
)
_MILLISECONDS: Final = re.compile(r"([0-9]{1,9})ms")
_SIZE: Final = re.compile(r"([0-9]{1,12}) ?(B|kB|KB|KiB|MB|MiB|GB|GiB)?")
_UNITS: Final = {
    None: 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "KiB": 1024,
    "MB": 1000**2,
    "MiB": 1024**2,
    "GB": 1000**3,
    "GiB": 1024**3,
}
_MONEY: Final = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,6})?")
_MAXIMUM_MICRO_USD: Final = 10**18


def parse_duration(text: str) -> float:
    """Seconds of ``90s``, ``15m``, ``1h30m``, ``1d``, ``250ms``."""
    if match := _MILLISECONDS.fullmatch(text):
        return int(match[1]) / 1000
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError('a duration such as "90s", "15m" or "1h30m"')
    days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + seconds)


def parse_size(value: str | int) -> int:
    """Bytes of ``64 MiB``, ``500kB``, ``1024``."""
    match = _SIZE.fullmatch(str(value))
    if match is None:
        raise ValueError('a size such as "64 MiB" or "500 kB"')
    return int(match[1]) * _UNITS[match[2]]


def parse_money(value: str | int | Decimal) -> int:
    """Micro-USD of ``"25.00"``, ``25`` or ``0.5``; at most six decimals, exactly."""
    problem = 'an amount of USD such as "25.00", with at most six decimals'
    if isinstance(value, Decimal):
        # The exponent is looked at first: 1e999999999 must not be written out.
        if not value.is_finite() or value.is_signed() or abs(value.adjusted()) > 12:  # noqa: PLR2004 - digits before or after the point
            raise ValueError(problem)
        value = format(value, "f")
    text = str(value)
    if _MONEY.fullmatch(text) is None:
        raise ValueError(problem)
    whole, _, fraction = text.partition(".")
    amount = int(whole) * 1_000_000 + int(fraction.ljust(6, "0") if fraction else 0)
    if amount > _MAXIMUM_MICRO_USD:
        raise ValueError(problem)
    return amount


def parse_host(text: str) -> str:
    """A host name in lower case, or an IP address without brackets in its shortest form."""
    return base_urls.read_host(text)


def parse_origin(text: str) -> Origin:
    """``api.openai.com``, ``https://llm.internal:8443``, ``http://127.0.0.1:9000``."""
    return Origin(*base_urls.read_origin(text))


def parse_base_url(text: str) -> Origin:
    """The origin of a base URL, which may have a path and nothing else behind the host."""
    return Origin(*base_urls.read_base_url(text))


def parse_address(text: str) -> Address:
    """``127.0.0.1:4141``, ``[::1]:4141``, ``localhost:4141``."""
    host, separator, port = text.rpartition(":")
    expected = 'an address such as "127.0.0.1:4141"'
    if not separator or (":" in host and not host.startswith("[")):
        raise ValueError(expected)
    try:
        return Address(parse_host(host.lower()), base_urls.read_port(port, minimum=0))
    except ValueError:
        raise ValueError(expected) from None


def parse_pattern(text: str) -> str:
    """A name or a pattern with ``*``; raises ``ValueError``."""
    if not is_pattern(text):
        raise ValueError("a name or a pattern with *, in ASCII and without spaces")
    return text
