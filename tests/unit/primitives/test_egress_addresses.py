"""Which addresses outbound requests may reach."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.errors import EgressRefused
from keylease.primitives.egress import Resolver, check_address, checked_addresses

PRIVATE = [
    "10.0.0.1",
    "127.0.0.1",
    "127.9.9.9",
    "169.254.1.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "100.64.0.1",
    "100.127.255.255",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fe80::1",
    "::ffff:127.0.0.1",
    "::ffff:10.1.2.3",
    "64:ff9b::10.0.0.1",
    "64:ff9b::127.0.0.1",
]
NEVER = [
    "0.0.0.0",  # noqa: S104 - not for listening
    "0.1.2.3",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::10.0.0.1",
    "::ffff:0.0.0.0",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:4136:e378:8000:63bf:3fff:fdd2",
    "2001:db8::1",
    "2002:a00:1::1",
    "2002:7f00:1::",
    "2002:808:808::1",
    "3fff::1",
    "fec0::1",
    "ff02::1",
    "2606:4700::5efe:10.0.0.1",
    "2606:4700::200:5efe:10.0.0.1",
    "5f00::1",
]
METADATA = [
    "169.254.169.254",
    "169.254.170.2",
    "100.100.100.200",
    "168.63.129.16",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "::ffff:169.254.169.254",
    "::169.254.169.254",
    "64:ff9b::169.254.169.254",
    "64:ff9b:1:a9fe:a9:fe00::",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:4136:e378:8000:63bf:5601:5601",
    "fe80::5efe:169.254.169.254",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"]
PUBLIC += ["64:ff9b::8.8.8.8"]


def resolver_of(*texts: str) -> Resolver:
    async def resolver(_host: str, _port: int) -> Sequence[str]:
        return texts

    return resolver


@pytest.mark.parametrize("text", PRIVATE)
def test_private_addresses_need_permission(text: str) -> None:
    with pytest.raises(EgressRefused, match="private"):
        check_address(text, allow_private=False)
    check_address(text, allow_private=True)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("text", NEVER)
def test_reserved_addresses_are_never_reached(text: str, *, allowed: bool) -> None:
    with pytest.raises(EgressRefused):
        check_address(text, allow_private=allowed)


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_are_never_reached(text: str, *, allowed: bool) -> None:
    with pytest.raises(EgressRefused, match="metadata"):
        check_address(text, allow_private=allowed)


@pytest.mark.parametrize("text", PUBLIC)
def test_public_addresses_are_reached(text: str) -> None:
    check_address(text, allow_private=False)


@pytest.mark.parametrize("text", ["fe80::1%eth0", "::1%lo", "nonsense", "", "1.2.3", "010.0.0.1"])
def test_what_is_no_plain_address_is_refused(text: str) -> None:
    with pytest.raises(EgressRefused):
        check_address(text, allow_private=True)


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_in_ipv6_clothes_is_never_judged_more_kindly(address: IPv4Address) -> None:
    def allowed(text: str, *, private: bool) -> bool:
        try:
            check_address(text, allow_private=private)
        except EgressRefused:
            return False
        return True

    number = int(address)
    disguises = [
        IPv6Address(0xFFFF << 32 | number),
        IPv6Address(number if number > 1 else 2),  # :: and ::1 have a meaning of their own
        IPv6Address(0x64_FF9B << 96 | number),
        IPv6Address(0x2002 << 112 | number << 80 | 1),
        IPv6Address(0x2001 << 112 | number << 64),
        IPv6Address(0x2001 << 112 | 0x04040404 << 64 | (number ^ 0xFFFF_FFFF)),
    ]
    for private in (False, True):
        if not allowed(str(address), private=private):
            assert not any(allowed(str(disguise), private=private) for disguise in disguises)


@given(st.ip_addresses())
def test_everything_the_standard_library_calls_special_is_refused(
    address: IPv4Address | IPv6Address,
) -> None:
    if address.is_private or address.is_multicast or address.is_loopback or address.is_link_local:
        mapped = getattr(address, "ipv4_mapped", None)
        if mapped is None:
            with pytest.raises(EgressRefused):
                check_address(str(address), allow_private=False)


async def test_one_bad_address_refuses_the_name() -> None:
    with pytest.raises(EgressRefused):
        await checked_addresses(
            "mixed.test",
            443,
            allow_private=False,
            resolver=resolver_of("8.8.8.8", "10.0.0.1"),
        )


async def test_all_good_addresses_are_given_once_and_in_order() -> None:
    found = await checked_addresses(
        "good.test",
        443,
        allow_private=False,
        resolver=resolver_of("8.8.8.8", "2606:4700::1111", "8.8.8.8"),
    )
    assert [(a.host, a.ip, a.port, a.private) for a in found] == [
        ("good.test", "8.8.8.8", 443, False),
        ("good.test", "2606:4700::1111", 443, False),
    ]


async def test_a_name_without_an_address_is_refused() -> None:
    with pytest.raises(EgressRefused, match="no address"):
        await checked_addresses("empty.test", 443, allow_private=True, resolver=resolver_of())

    async def fails(_host: str, _port: int) -> Sequence[str]:
        raise OSError("no such host")

    with pytest.raises(EgressRefused, match="does not resolve"):
        await checked_addresses("gone.test", 443, allow_private=True, resolver=fails)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.1", "2130706433", "0x7f000001"])
async def test_the_system_resolver_does_not_hide_this_machine(host: str) -> None:
    with pytest.raises(EgressRefused):
        await checked_addresses(host, 443, allow_private=False)
    assert all(a.private for a in await checked_addresses("localhost", 443, allow_private=True))
