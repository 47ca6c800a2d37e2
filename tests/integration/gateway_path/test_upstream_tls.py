"""Whom the gateway connects to: certificates, names and addresses of real upstreams."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.integration.gateway_path.running import QUOTE, Running, running

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def certificate(folder: Path, address: str) -> Path:
    """A certificate for an address, with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, address)])
    now = dt.datetime.now(dt.UTC)
    names = [x509.IPAddress(ipaddress.ip_address(address))]
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{address}.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@asynccontextmanager
async def upstream(served: Path | None) -> AsyncIterator[tuple[str, list[bytes]]]:
    context = None
    if served is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(served)
    heads: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(ANSWER)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client did not like what it saw
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}", heads
    finally:
        server.close()


async def call(gateway: Running) -> httpx.Response:
    gateway.link.prices["openai", "gpt-4o-mini"] = QUOTE
    gateway.link.store("cred-openai", b"sk-test-0123456789abcdef")
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": "gpt-4o-mini", "messages": []},
            headers={"authorization": f"Bearer {gateway.make_lease()}"},
        )


@pytest.mark.parametrize("case", ["trusted", "unknown authority", "another name"])
async def test_the_certificate_must_be_good_for_the_bound_host(tmp_path: Path, case: str) -> None:
    served = certificate(tmp_path, "127.0.0.2" if case == "another name" else "127.0.0.1")
    trusted = "" if case == "unknown authority" else str(served)
    async with (
        upstream(served) as (url, heads),
        running(url, url, upstream_ca_file=trusted) as gateway,
    ):
        answer = await call(gateway)
    if case == "trusted":
        assert (answer.status_code, len(heads)) == (200, 1)
        return
    assert (answer.status_code, heads) == (502, [])
    assert "certificate" in answer.json()["error"]["message"]


async def test_a_private_address_needs_a_listed_host(tmp_path: Path) -> None:
    served = certificate(tmp_path, "127.0.0.1")
    async with (
        upstream(served) as (url, heads),
        running(url, url, upstream_ca_file=str(served), listed=False) as gateway,
    ):
        answer = await call(gateway)
    assert (answer.status_code, heads) == (502, [])
    assert answer.json()["error"]["code"] == "egress_refused"


async def test_plain_http_needs_a_listed_host() -> None:
    async with upstream(None) as (url, heads), running(url, url, listed=False) as gateway:
        answer = await call(gateway)
    assert (answer.status_code, heads) == (403, [])
    assert answer.json()["error"]["code"] == "binding_missing"


async def test_nobody_at_the_bound_host_is_a_clear_error() -> None:
    async with upstream(None) as (url, _):
        pass
    async with running(url, url) as gateway:
        answer = await call(gateway)
    assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_unreachable")
