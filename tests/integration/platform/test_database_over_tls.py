"""The way to PostgreSQL is verified when the address says so: real TLS, right and wrong names."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy import text
from tests.support.manual_clock import ManualClock
from tests.support.ports import free_port
from tests.support.postgres import postgres_server
from tests.support.users import NOBODY

from keylease.errors import ConfigurationError, DatabaseUnavailable
from keylease.platform.db.database import Database


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    """Files of a certificate for a host, signed by itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    shown, private = folder / f"{name}.crt", folder / f"{name}.key"
    shown.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    private.chmod(0o600)
    return shown, private


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Of a server on ``localhost``, whose certificate says so; and that certificate."""
    folder = tmp_path_factory.mktemp("certificates")
    port = free_port()

    def settings(data: Path) -> Sequence[str]:
        shown, private = certificate(data, "localhost")
        (folder / "authority.pem").write_bytes(shown.read_bytes())
        if os.geteuid() == 0:
            for file in (shown, private):
                os.chown(file, NOBODY, NOBODY)
        return (
            "listen_addresses=127.0.0.1", f"port={port}", "ssl=on",
            f"ssl_cert_file={shown.name}", f"ssl_key_file={private.name}",
        )  # fmt: skip

    with postgres_server(settings):
        yield f"postgresql://postgres@localhost:{port}/postgres", folder / "authority.pem"


async def version_of_tls(url: str) -> str:
    database = Database(url, clock=ManualClock())
    try:
        async with database.reading() as tx:
            found = await tx.execute(
                text("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            )
            return str(found.scalar_one())
    finally:
        await database.close()


async def test_a_certificate_is_verified_when_the_address_says_so(
    address: tuple[str, Path], tmp_path: Path
) -> None:
    url, authority = address
    stranger, _ = certificate(tmp_path, "localhost")
    for query in (f"ssl=verify-full&sslrootcert={authority}", f"sslrootcert={authority}"):
        assert (await version_of_tls(f"{url}?{query}")).startswith("TLSv1.")
    by_number = url.replace("localhost", "127.0.0.1")  # the certificate has another name
    assert await version_of_tls(f"{by_number}?ssl=verify-ca&sslrootcert={authority}")
    for refused in (
        f"{url}?ssl=verify-full&sslrootcert={stranger}",
        f"{url}?ssl=verify-full",  # the system's authorities do not know it
        f"{by_number}?ssl=verify-full&sslrootcert={authority}",
    ):
        with pytest.raises(DatabaseUnavailable, match="certificate"):
            await version_of_tls(refused)
    with pytest.raises(ConfigurationError, match="TLS"):
        Database(f"{url}?sslrootcert={tmp_path / 'absent'}", clock=ManualClock())
