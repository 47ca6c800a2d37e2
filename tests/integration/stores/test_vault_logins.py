"""How the Vault store logs in: AppRole, JWT, Kubernetes, and tokens that end."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey
from tests.support.openbao import Bao
from tests.support.store_tools import fake_key, opened
from tests.support.vault_kit import (
    Opened,
    fetch,
    put_token,
    readers,
    secret_path,
    settings,
    stores,
    token_file,
)

from keylease.errors import (
    StoreAccessDenied,
)
from keylease.strongroom.configuration import StoreSettings

__all__ = ["readers", "settings", "stores", "token_file"]


def approle(bao: Bao, tmp_path: Path, readers: str, **role: str) -> StoreSettings:
    name = f"role-{uuid.uuid4().hex[:8]}"
    bao.write(f"auth/approle/role/{name}", token_policies=[readers], **role)
    role_id = bao.call("GET", f"auth/approle/role/{name}/role-id")["data"]["role_id"]
    secret_id = bao.write(f"auth/approle/role/{name}/secret-id")["data"]["secret_id"]
    (tmp_path / "role-id").write_text(role_id + "\n")
    (tmp_path / "secret-id").write_text(secret_id + "\n")
    return StoreSettings(
        vault_address=bao.address,
        vault_auth="approle",
        vault_role_id_file=str(tmp_path / "role-id"),
        vault_secret_id_file=str(tmp_path / "secret-id"),
    )


async def test_approle(bao: Bao, stores: Opened, readers: str, tmp_path: Path) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    login = approle(bao, tmp_path, readers)
    store = stores.store(login)
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
    (tmp_path / "secret-id").write_text("wrong")
    store = stores.store(login)
    with pytest.raises(StoreAccessDenied, match="login by approle"):
        await fetch(store, f"vault://secret/{path}#key")


async def test_the_login_token_is_revoked_at_the_end(
    bao: Bao, readers: str, tmp_path: Path
) -> None:
    path = secret_path()
    bao.put_v2(path, key=fake_key())
    opened_stores = Opened()
    settings = approle(bao, tmp_path, readers)
    store = opened_stores.store(settings)
    await fetch(store, f"vault://secret/{path}#key")
    held = store._session._held
    assert held is not None
    token = held.token.reveal(why="a test looks it up").decode()
    assert bao.write("auth/token/lookup", token=token)["data"]["path"] == "auth/approle/login"
    await opened_stores.close()
    with pytest.raises(httpx.HTTPStatusError):
        bao.write("auth/token/lookup", token=token)


async def test_a_revoked_login_is_made_again(
    bao: Bao, stores: Opened, readers: str, tmp_path: Path
) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    settings = approle(bao, tmp_path, readers)
    store = stores.store(settings)
    await fetch(store, f"vault://secret/{path}#key")
    first = await store._session.token()
    bao.write("auth/token/revoke", token=first.reveal(why="a test revokes it").decode())
    results = await asyncio.gather(*(fetch(store, f"vault://secret/{path}#key") for _ in range(8)))
    assert [opened(result) for result in results] == [value] * 8
    assert not (await store._session.token()).equals(first)


async def test_a_short_token_is_renewed_before_it_ends(
    bao: Bao, stores: Opened, readers: str, tmp_path: Path
) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    login = approle(bao, tmp_path, readers, token_ttl="2s", token_max_ttl="60s")
    store = stores.store(login)
    await fetch(store, f"vault://secret/{path}#key")
    first = await store._session.token()
    await asyncio.sleep(3.5)
    assert await store._session.token() is first, "renewed, not replaced"
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value


async def test_at_its_greatest_age_a_token_is_replaced(
    bao: Bao, stores: Opened, readers: str, tmp_path: Path
) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    login = approle(bao, tmp_path, readers, token_ttl="2s", token_max_ttl="3s")
    store = stores.store(login)
    first = await store._session.token()
    deadline = time.monotonic() + 4.5
    while time.monotonic() < deadline:
        assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
        await asyncio.sleep(0.1)
    assert not (await store._session.token()).equals(first)


async def test_a_token_that_cannot_be_renewed_is_announced(
    bao: Bao, stores: Opened, settings: StoreSettings, readers: str
) -> None:
    path = secret_path()
    bao.put_v2(path, key=fake_key())
    put_token(settings, bao.token(readers, ttl="30s", renewable=False))
    await fetch(stores.store(settings), f"vault://secret/{path}#key")
    assert any("cannot be renewed" in sentence for sentence in stores.posture.sentences())


async def test_jwt(bao: Bao, stores: Opened, readers: str, tmp_path: Path) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    key = ECKey.generate_key("P-256")
    bao.write(
        "auth/jwt/config",
        jwt_validation_pubkeys=[key.as_pem(private=False).decode()],
        bound_issuer="https://issuer.example",
    )
    bao.write(
        "auth/jwt/role/gateway",
        role_type="jwt",
        user_claim="sub",
        bound_audiences=["vault"],
        token_policies=[readers],
    )

    def write(audience: str) -> None:
        now = int(time.time())
        claims = {
            "iss": "https://issuer.example",
            "sub": "gateway",
            "aud": audience,
            "iat": now,
            "nbf": now - 5,
            "exp": now + 60,
        }
        (tmp_path / "jwt").write_text(jwt.encode({"alg": "ES256"}, claims, key))

    settings = StoreSettings(
        vault_address=bao.address,
        vault_auth="jwt",
        vault_role="gateway",
        vault_jwt_file=str(tmp_path / "jwt"),
    )
    write("somebody-else")
    store = stores.store(settings)
    with pytest.raises(StoreAccessDenied, match="login by jwt"):
        await fetch(store, f"vault://secret/{path}#key")
    write("vault")
    assert opened(await fetch(store, f"vault://secret/{path}#key")) == value


def certificate() -> str:
    """The configuration of Kubernetes auth wants one, also for an http:// address."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.now(UTC)
    built = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    return built.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


class TokenReviewer(BaseHTTPRequestHandler):
    """As much of a Kubernetes API server as a token review needs."""

    accepted = "test-service-account-token"

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        review = json.loads(self.rfile.read(length))
        good = review["spec"]["token"].endswith(self.accepted)
        user = {
            "username": "system:serviceaccount:keylease:gateway",
            "uid": "u",
            "groups": ["system:serviceaccounts"],
        }
        status = {"authenticated": True, "user": user} if good else {"authenticated": False}
        body = json.dumps(
            {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
        ).encode()
        self.send_response(201)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay quiet."""


async def test_kubernetes(bao: Bao, stores: Opened, readers: str, tmp_path: Path) -> None:
    path, value = secret_path(), fake_key()
    bao.put_v2(path, key=value)
    api = ThreadingHTTPServer(("127.0.0.1", 0), TokenReviewer)
    Thread(target=api.serve_forever, daemon=True).start()
    try:
        bao.write(
            "auth/kubernetes/config",
            kubernetes_host=f"http://127.0.0.1:{api.server_port}",
            kubernetes_ca_cert=certificate(),
            disable_local_ca_jwt=True,
        )
        bao.write(
            "auth/kubernetes/role/gateway",
            bound_service_account_names=["gateway"],
            bound_service_account_namespaces=["keylease"],
            token_policies=[readers],
        )
        key = ECKey.generate_key("P-256")
        claims = {
            "iss": "kubernetes/serviceaccount",
            "sub": "system:serviceaccount:keylease:gateway",
            "iat": int(time.time()) - 60,
            "nbf": int(time.time()) - 60,
            "exp": int(time.time()) + 600,
            "kubernetes.io": {
                "namespace": "keylease",
                "serviceaccount": {"name": "gateway", "uid": "u"},
            },
        }
        token = jwt.encode({"alg": "ES256"}, claims, key)
        TokenReviewer.accepted = token[-20:]
        (tmp_path / "token").write_text(token)
        settings = StoreSettings(
            vault_address=bao.address,
            vault_auth="kubernetes",
            vault_role="gateway",
            vault_jwt_file=str(tmp_path / "token"),
        )
        store = stores.store(settings)
        assert opened(await fetch(store, f"vault://secret/{path}#key")) == value
        TokenReviewer.accepted = "another"
        with pytest.raises(StoreAccessDenied, match="login by kubernetes"):
            await fetch(stores.store(settings), f"vault://secret/{path}#key")
    finally:
        api.shutdown()
        api.server_close()


async def test_namespaces(bao: Bao, stores: Opened) -> None:
    bao.write("sys/namespaces/team-a")
    bao.write("sys/mounts/kv", namespace="team-a", type="kv", options={"version": "1"})
    value = fake_key()
    bao.write("kv/openai", namespace="team-a", key=value)
    settings = StoreSettings(vault_address=bao.address, attempts=1)
    inside = StoreSettings(vault_address=bao.address, vault_namespace="team-a", attempts=1)
    store = stores.store(inside, VAULT_TOKEN=bao.root)
    assert opened(await fetch(store, "vault://kv/openai#key")) == value
    with pytest.raises(StoreAccessDenied, match="mount exists"):
        await fetch(stores.store(settings, VAULT_TOKEN=bao.root), "vault://kv/openai#key")
