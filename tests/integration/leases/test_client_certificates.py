"""Leases that are bound to a TLS client certificate (RFC 8705), at a real gateway with TLS."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.support.hostile_upstream import hostile_upstream
from tests.support.issuer_thread import issuer_thread
from tests.support.running_gateway import RunningGateway, running_gateway
from tests.support.simulated_provider import fresh_key

_TOKEN_EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


class Authority:
    """Signs certificates of one test."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        self.file = directory / f"{name}.pem"
        ca = x509.BasicConstraints(ca=True, path_length=None)
        certificate = self._builder(self.name, self.key).add_extension(ca, critical=True)
        signed = certificate.sign(self.key, hashes.SHA256())
        self.file.write_bytes(signed.public_bytes(serialization.Encoding.PEM))

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        signed = (
            self._builder(subject, key)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(self.key, hashes.SHA256())
        )
        certificate, private = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return certificate, private


def client(trusted: Authority, shown: tuple[Path, Path] | None) -> httpx.Client:
    context = ssl.create_default_context(cafile=str(trusted.file))
    if shown is not None:
        context.load_cert_chain(*shown)
    return httpx.Client(verify=context, trust_env=False, timeout=30)


def call(
    gateway: RunningGateway, trusted: Authority, shown: tuple[Path, Path] | None, lease: str
) -> tuple[int, str]:
    with client(trusted, shown) as session:
        answer = session.post(
            f"{gateway.url}/v1/chat/completions",
            json={"model": "any", "messages": [{"role": "user", "content": "Hello"}]},
            headers={"authorization": f"Bearer {lease}"},
        )
    return answer.status_code, answer.headers.get("x-keylease-error", "")


def test_a_lease_is_good_only_with_the_certificate_it_was_asked_for_with(tmp_path: Path) -> None:
    server, clients, strangers = (
        Authority(tmp_path, name) for name in ("servers", "clients", "strangers")
    )
    certificate, key = server.issue("gateway")
    mine, other, foreign = clients.issue("mine"), clients.issue("other"), strangers.issue("foreign")
    keys = tmp_path / "keys"
    keys.mkdir(mode=0o700)
    (keys / "good").write_bytes(fresh_key())
    (keys / "good").chmod(0o600)
    with hostile_upstream() as upstream, issuer_thread() as issuer:
        gateway_toml = f"""
version = 1
[gateway]
listen = "127.0.0.1:0"
metrics = "127.0.0.1:0"
tls_certificate = "{certificate}"
tls_key = "{key}"
tls_client_ca = "{clients.file}"
[stores]
file_directories = ["{keys}"]
[[binding]]
reference = "file://{keys}/*"
provider = "openai-compatible"
hosts = ["{upstream.url}"]
purposes = ["development"]
[[trusted_issuer]]
issuer = "{issuer.url}"
allow_private_address = true
"""
        policy_toml = f"""
version = 1
[[credential]]
name = "good"
provider = "openai-compatible"
upstream = "{upstream.url}/v1"
reference = "file://{keys}/good"
purposes = ["development"]
environment = "local"
[[route]]
name = "all"
models = ["*"]
targets = [{{ credential = "good" }}]
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
[[trust]]
name = "jobs"
issuer = "{issuer.url}"
audience = "keylease"
principal = "workload:job"
purposes = ["development"]
[trust.claims]
sub = "job"
"""
        with running_gateway(
            tmp_path, gateway_toml=gateway_toml, policy_toml=policy_toml
        ) as gateway:

            def exchange(shown: tuple[Path, Path] | None) -> str:
                form = {
                    "grant_type": _TOKEN_EXCHANGE,
                    "subject_token": issuer.token(),
                    "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
                    "purpose": "development",
                    "environment": "local",
                }
                with client(server, shown) as session:
                    answer = session.post(f"{gateway.url}/oauth/token", data=form)
                assert answer.status_code == 200, answer.text
                assert answer.json()["token_type"] == "Bearer"
                return str(answer.json()["access_token"])

            bound = exchange(mine)
            assert call(gateway, server, mine, bound) == (200, "")
            assert call(gateway, server, None, bound) == (401, "sender_not_proven")
            assert call(gateway, server, other, bound) == (401, "sender_not_proven")
            # Without a certificate it is a bearer token, and a certificate does it no harm.
            plain = exchange(None)
            assert call(gateway, server, None, plain) == (200, "")
            assert call(gateway, server, mine, plain) == (200, "")
            # One that no listed authority vouches for ends the handshake.
            try:
                said = call(gateway, server, foreign, plain)
            except httpx.TransportError:
                said = (0, "")
            assert said[0] != 200
