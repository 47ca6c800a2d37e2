"""Both sides over TLS, on both event loops: what is verified, and what an end means."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.support.http1_kit import (
    LocalAddress,
    RawClient,
    Recorder,
    RecordingReceiver,
    no_error,
)

from keylease.primitives.http1.client import UpstreamPool
from keylease.primitives.http1.limits import ServerLimits
from keylease.primitives.http1.server import Http1Server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for ``upstream.test`` with its key, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "upstream.test")])
    now = dt.datetime.now(dt.UTC)
    names = [
        x509.DNSName("upstream.test"),
        x509.IPAddress(ipaddress.ip_address("192.0.2.1")),
    ]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def server_context(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


@contextlib.asynccontextmanager
async def pool_to(port: int, certificate: Path, *, server_name: str) -> AsyncIterator[UpstreamPool]:
    async def resolve() -> list[LocalAddress]:
        return [LocalAddress("127.0.0.1", port)]

    pool = UpstreamPool(
        host=server_name,
        port=port,
        resolve=resolve,
        ssl_context=ssl.create_default_context(cafile=certificate),
        on_error=no_error,
    )
    try:
        yield pool
    finally:
        await pool.close()
        await asyncio.sleep(0.02)


async def ask(pool: UpstreamPool) -> RecordingReceiver:
    receiver = RecordingReceiver()
    pool.request(method="POST", target=b"/a", headers=b"", receiver=receiver, body=b"x" * 200_000)
    await receiver.ended()
    return receiver


async def test_a_call_over_tls_keeps_its_connection(certificate: Path) -> None:
    recorder = Recorder()
    server = Http1Server(recorder, on_error=no_error)
    await server.listen(host="127.0.0.1", ssl_context=server_context(certificate))
    port = server.addresses[0][1]
    async with pool_to(port, certificate, server_name="upstream.test") as pool:
        for _ in range(3):
            assert (await ask(pool)).body == b"/a " + b"x" * 200_000
        assert pool.open_count == 1
        host = recorder.handlers[0].head.header(b"host")
        assert host == b"upstream.test:%d" % port
    await server.drain(1)


async def test_another_name_is_refused_before_anything_is_sent(certificate: Path) -> None:
    recorder = Recorder()
    server = Http1Server(recorder, on_error=no_error)
    await server.listen(host="127.0.0.1", ssl_context=server_context(certificate))
    port = server.addresses[0][1]
    async with pool_to(port, certificate, server_name="other.test") as pool:
        receiver = await ask(pool)
        assert receiver.failure is not None
        assert (receiver.failure.kind, receiver.failure.sent) == ("tls", False)
    assert recorder.handlers == []
    await server.drain(1)


@pytest.mark.asyncio(loop_factories=["uvloop"])  # asyncio's own loop cannot see the difference.
@pytest.mark.parametrize("in_order", [False, True])
async def test_a_body_that_ends_with_the_connection_needs_a_tls_end(
    certificate: Path,
    in_order: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """Without close_notify somebody on the way may have cut the answer short."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await RawClient(reader, writer).until(b"x" * 100)
            writer.write(b"HTTP/1.1 200 OK\r\n\r\nto the end")
            await writer.drain()
            await asyncio.sleep(0.05)
            if in_order:
                writer.close()
                await writer.wait_closed()
            else:
                writer.transport.abort()

    upstream = await asyncio.start_server(
        connected, "127.0.0.1", 0, ssl=server_context(certificate), limit=1 << 20
    )
    port = upstream.sockets[0].getsockname()[1]
    async with (
        upstream,
        pool_to(port, certificate, server_name="upstream.test") as pool,
    ):
        receiver = await ask(pool)
        assert receiver.body == b"to the end"
        assert receiver.events[-1] == ("complete" if in_order else "failed")


async def test_malformed_over_tls_is_answered_and_closed(certificate: Path) -> None:
    recorder = Recorder()
    limits = ServerLimits(linger_seconds=0.2)
    server = Http1Server(recorder, limits=limits, on_error=no_error)
    await server.listen(host="127.0.0.1", ssl_context=server_context(certificate))
    reader, writer = await asyncio.open_connection(
        "127.0.0.1",
        server.addresses[0][1],
        ssl=ssl.create_default_context(cafile=certificate),
        server_hostname="upstream.test",
    )
    client = RawClient(reader, writer)
    client.send(b"GET //a HTTP/1.1\r\nHost: a\r\n\r\n")
    head, _ = await client.answer()
    assert head.startswith(b"HTTP/1.1 400 ")
    assert await client.rest() == b""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    assert recorder.handlers == []
    await server.drain(1)
