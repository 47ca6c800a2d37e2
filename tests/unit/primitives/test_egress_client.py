"""The guarded client against servers that misbehave and names that change their answer."""

from __future__ import annotations

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import Sequence
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.plain_server import http, plain_server

from keylease.errors import EgressRefused
from keylease.primitives.egress import guarded_client


class ChangingResolver:
    """Gives another answer each time: DNS rebinding."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int, /) -> Sequence[str]:
        del host, port
        answer = self.answers[min(self.asked, len(self.answers) - 1)]
        self.asked += 1
        return answer


def certificate(tmp_path: Path, name: str) -> tuple[Path, ssl.SSLContext]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(minutes=5))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    both = tmp_path / f"{name}.pem"
    ca = tmp_path / f"{name}.ca.pem"
    ca.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    both.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    return ca, context


async def test_private_addresses_are_refused_unless_the_host_is_allowed() -> None:
    async with plain_server() as server:
        server.answers["/"] = http(b"hello")
        async with guarded_client() as client:
            with pytest.raises(EgressRefused):
                await client.get(f"https://127.0.0.1:{server.port}/")
        async with guarded_client(allow_private=lambda host: host == "127.0.0.1") as client:
            assert (await client.get(server.url + "/")).content == b"hello"
            with pytest.raises(EgressRefused):
                await client.get(f"http://localhost:{server.port}/")
        assert server.connections == 1


async def test_a_name_that_changes_to_a_private_address_gains_nothing() -> None:
    resolver = ChangingResolver(["192.0.2.1", "8.8.8.8"], ["127.0.0.1"])
    async with plain_server() as server, guarded_client(resolver=resolver) as client:
        for _ in range(2):
            with pytest.raises(EgressRefused):
                await client.get(f"https://rebinding.test:{server.port}/")
        assert server.connections == 0


async def test_the_address_that_was_checked_is_the_one_connected_to() -> None:
    """The name is resolved once for each connection, and never by anybody else."""
    resolver = ChangingResolver(["127.0.0.1"], ["10.255.255.1"])
    async with (
        plain_server() as server,
        guarded_client(allow_private=True, resolver=resolver) as client,
    ):
        server.answers["/"] = http(b"one")
        url = f"http://no-such-name.test:{server.port}/"
        assert (await client.get(url)).content == b"one"
        assert resolver.asked == 1
        assert b"Host: no-such-name.test" in server.heads[0]
        # The kept connection is used again without asking; a new one asks again.
        server.answers["/"] = http(b"two", headers="Connection: close\r\n")
        assert (await client.get(url)).content == b"two"
        assert resolver.asked == 1
        refusing = ChangingResolver(["169.254.169.254"])
        client._transport._pools["http"]._network_backend._resolver = refusing  # type: ignore[attr-defined]  # looks into the pool
        with pytest.raises(EgressRefused, match="metadata"):
            await client.get(url)


async def test_plain_http_does_not_leave_the_private_network() -> None:
    async with guarded_client() as client:
        with pytest.raises(EgressRefused, match="https"):
            await client.get("http://example.test/")
    resolver = ChangingResolver(["8.8.8.8"])
    async with guarded_client(allow_private=True, resolver=resolver) as client:
        with pytest.raises(EgressRefused, match="Plain http"):
            await client.get("http://public.test/")
        for scheme in ("ftp", "file", "gopher"):
            with pytest.raises((EgressRefused, httpx.UnsupportedProtocol)):
                await client.get(f"{scheme}://public.test/")


async def test_redirects_are_not_followed() -> None:
    async with plain_server() as server, guarded_client(allow_private=True) as client:
        server.answers["/"] = http(
            b"", status="302 Found", headers=f"Location: {server.url}/there\r\n"
        )
        assert (await client.get(server.url + "/")).status_code == 302
        assert "/there" not in server.requests


async def test_an_answer_over_the_bound_is_refused() -> None:
    async with (
        plain_server() as server,
        guarded_client(allow_private=True, maximum_bytes=1000) as client,
    ):
        server.answers["/fits"] = http(b"x" * 1000)
        server.answers["/declared"] = http(b"x" * 1001)
        server.answers["/chunked"] = (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"258\r\n" * 1
            + b"x" * 600
            + b"\r\n258\r\n"
            + b"x" * 600
            + b"\r\n0\r\n\r\n"
        )
        assert len((await client.get(server.url + "/fits")).content) == 1000
        for path in ("/declared", "/chunked"):
            with pytest.raises(EgressRefused, match="larger"):
                await client.get(server.url + path)


async def test_a_compressed_answer_is_refused() -> None:
    async with plain_server() as server, guarded_client(allow_private=True) as client:
        server.answers["/"] = http(b"\x1f\x8b", headers="Content-Encoding: gzip\r\n")
        with pytest.raises(EgressRefused, match="compressed"):
            await client.get(server.url + "/")
        assert b"accept-encoding: identity" in server.heads[0].lower()


async def test_the_whole_exchange_is_bounded_in_time() -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.02)

    async def silence(_writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    async with plain_server() as server, guarded_client(allow_private=True, timeout=0.3) as client:
        server.answers["/drip"] = drip
        server.answers["/silence"] = silence
        for path in ("/drip", "/silence"):
            started = time.monotonic()
            with pytest.raises(httpx.TimeoutException):
                await client.get(server.url + path)
            assert time.monotonic() - started < 5


async def test_what_is_not_http_is_an_error() -> None:
    async with plain_server() as server, guarded_client(allow_private=True) as client:
        server.answers["/"] = b"SSH-2.0-OpenSSH_9.2\r\n\r\n"
        with pytest.raises(httpx.HTTPError):
            await client.get(server.url + "/")


async def test_tls_is_verified_against_the_name_and_the_given_authority(tmp_path: Path) -> None:
    ca_file, tls = certificate(tmp_path, "issuer.test")
    resolver = ChangingResolver(["127.0.0.1"])
    async with plain_server(tls) as server:
        server.answers["/"] = http(b"safe")
        for trusted, name, good in (
            (str(ca_file), "issuer.test", True),
            (str(ca_file), "other.test", False),
            (None, "issuer.test", False),
        ):
            async with guarded_client(
                allow_private=True, ca_file=trusted, resolver=resolver
            ) as client:
                if good:
                    answer = await client.get(f"https://{name}:{server.port}/")
                    assert answer.content == b"safe"
                else:
                    with pytest.raises(httpx.ConnectError):
                        await client.get(f"https://{name}:{server.port}/")


async def test_proxy_and_key_log_variables_are_ignored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key_log = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(key_log))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("SSL_CERT_FILE", "/nonexistent")
    ca_file, tls = certificate(tmp_path, "issuer.test")
    async with (
        plain_server(tls) as server,
        guarded_client(
            allow_private=True, ca_file=str(ca_file), resolver=ChangingResolver(["127.0.0.1"])
        ) as client,
    ):
        server.answers["/"] = http(b"safe")
        assert (await client.get(f"https://issuer.test:{server.port}/")).content == b"safe"
    assert not key_log.exists()
