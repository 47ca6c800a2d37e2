"""Answers of Vault that a healthy server does not give."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.store_tools import fake_key, reference, versions

from keylease.errors import (
    SecretInvalid,
    StoreAccessDenied,
    StoreError,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.posture import Posture
from keylease.strongroom.stores.vault import VaultStore

WANTED = reference("vault://secret/openai#key")
MOUNT = {"data": {"path": "secret/", "type": "kv", "options": {"version": "2"}}}
Handler = Callable[[httpx.Request], httpx.Response]


class Scripted:
    """A store whose server is a function; keeps what was sent."""

    def __init__(self, handler: Handler, **settings: str) -> None:
        self.sent: list[httpx.Request] = []
        self.posture = Posture()

        def handle(request: httpx.Request) -> httpx.Response:
            self.sent.append(request)
            if request.url.path.startswith("/v1/auth/token/lookup-self"):
                return httpx.Response(200, json={"data": {"ttl": 0}})
            if request.url.path.startswith("/v1/sys/internal/ui/mounts/"):
                return httpx.Response(200, json=MOUNT)
            return handler(request)

        async def sleep(_: float) -> None:
            return

        values = {"vault_address": "https://vault.example:8200", **settings}
        self.store = VaultStore(
            StoreSettings(attempts=3, **values),  # type: ignore[arg-type]  # only texts are given
            clock=ManualClock(),
            versions=versions(),
            posture=self.posture,
            environment={"VAULT_TOKEN": Secret("hvs.test")},
            transport=httpx.MockTransport(handle),
            sleep=sleep,
        )

    @property
    def reads(self) -> int:
        return sum("/data/" in request.url.path for request in self.sent)


@pytest.mark.parametrize(
    ("response", "error", "words", "reads"),
    [
        (httpx.Response(503, json={"errors": ["Vault is sealed"]}), StoreUnavailable, "sealed", 3),
        (httpx.Response(503, text="upstream"), StoreUnavailable, "status 503", 3),
        (httpx.Response(500, text="boom"), StoreUnavailable, "status 500", 3),
        (httpx.Response(429, json={"errors": []}), StoreUnavailable, "limits", 3),
        (httpx.Response(412, json={"errors": []}), StoreUnavailable, "caught up", 3),
        (
            httpx.Response(307, headers={"Location": "https://attacker.example/"}),
            StoreUnavailable,
            "standby",
            3,
        ),
        (httpx.Response(400, json={"errors": ["x"]}), SecretInvalid, "does not accept", 1),
        (httpx.Response(403, json={"errors": ["x"]}), StoreAccessDenied, "refuses to read", 1),
        (httpx.Response(200, text="<html>"), SecretInvalid, "no JSON", 1),
        (httpx.Response(200, json=[1]), SecretInvalid, "no JSON object", 1),
        (httpx.Response(200, json={"data": {"data": "text"}}), SecretInvalid, "fields", 1),
        (httpx.Response(200, content=b"x" * (1 << 20) + b"x"), SecretInvalid, "more than", 1),
    ],
    ids=lambda value: value.status_code if isinstance(value, httpx.Response) else None,
)
async def test_each_odd_answer_has_its_error(
    response: httpx.Response, error: type[StoreError], words: str, reads: int
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(
            response.status_code, headers=response.headers, content=response.content
        )

    scripted = Scripted(handler)
    with pytest.raises(error, match=words):
        await scripted.store.fetch(WANTED)
    assert scripted.reads == reads
    assert all(request.url.host == "vault.example" for request in scripted.sent)
    await scripted.store.close()


@pytest.mark.parametrize(
    ("raised", "error"),
    [
        (httpx.ConnectError("about sk-test"), StoreUnavailable),
        (httpx.ReadTimeout("about sk-test"), StoreTimedOut),
        (httpx.RemoteProtocolError("about sk-test"), StoreUnavailable),
    ],
    ids=["connect", "read", "protocol"],
)
async def test_foreign_errors_leave_nothing_behind(
    raised: Exception, error: type[StoreError]
) -> None:
    def handler(_: httpx.Request) -> httpx.Response:
        raise raised

    scripted = Scripted(handler)
    with pytest.raises(error) as caught:
        await scripted.store.fetch(WANTED)
    assert "sk-test" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
    assert scripted.reads == 3
    await scripted.store.close()


async def test_a_failure_that_passes_is_tried_again() -> None:
    value = fake_key()
    answers = iter([httpx.Response(500), httpx.Response(503)])

    def handler(_: httpx.Request) -> httpx.Response:
        good = {"data": {"data": {"key": value}, "metadata": {"version": 3}}}
        return next(answers, httpx.Response(200, json=good))

    scripted = Scripted(handler)
    fetched = await scripted.store.fetch(WANTED)
    assert fetched.version == "3"
    assert scripted.reads == 3
    await scripted.store.close()


async def test_headers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    value = fake_key()

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"data": {"data": {"key": value}, "metadata": {}}})

    scripted = Scripted(handler, vault_namespace="team-a")
    fetched = await scripted.store.fetch(WANTED)
    assert fetched.version.startswith("digest-"), "a server that names no version"
    for request in scripted.sent:
        assert request.headers["X-Vault-Token"] == "hvs.test"
        assert request.headers["X-Vault-Namespace"] == "team-a"
        assert request.headers["X-Vault-Request"] == "true"
    assert value not in caplog.text
    assert "hvs.test" not in caplog.text
    await scripted.store.close()


def nothing(_: httpx.Request) -> httpx.Response:
    return httpx.Response(404)


@pytest.mark.parametrize(
    "address",
    [
        "vault.example",
        "ftp://vault.example",
        "https://",
        "https://u:p@vault.example",
        "https://v?x=1",
    ],
)
def test_odd_addresses_are_refused(address: str) -> None:
    with pytest.raises(StoreUnsupported, match="address"):
        Scripted(nothing, vault_address=address)


def test_an_unknown_method_names_the_known_ones() -> None:
    with pytest.raises(StoreUnsupported, match="approle"):
        Scripted(nothing, vault_auth="ldap")


async def test_a_method_without_its_file_is_told() -> None:
    for method, setting in (("approle", "role_id_file"), ("jwt", "jwt_file")):
        scripted = Scripted(nothing, vault_auth=method)
        with pytest.raises(StoreUnsupported, match=setting):
            await scripted.store.fetch(WANTED)
        await scripted.store.close()


async def test_a_file_that_is_not_there_is_told() -> None:
    scripted = Scripted(nothing, vault_token_file="/nonexistent/token")
    with pytest.raises(StoreAccessDenied, match="token_file"):
        await scripted.store.fetch(WANTED)
    await scripted.store.close()


async def test_http_beyond_this_machine_is_announced() -> None:
    assert Scripted(nothing, vault_address="http://127.0.0.1:1").posture.sentences() == ()
    (sentence,) = Scripted(nothing, vault_address="http://vault.example").posture.sentences()
    assert "without TLS" in sentence


def test_a_bad_ca_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("garbage")
    for name in (path, tmp_path / "absent"):
        with pytest.raises(StoreUnsupported, match="CA file"):
            Scripted(nothing, vault_ca_file=str(name))


def test_the_answer_is_never_shown() -> None:
    from keylease.strongroom.stores.vault_http import VaultAnswer  # noqa: PLC0415 - its repr only

    answer = VaultAnswer(200, json.dumps({"key": "sk-test"}).encode())
    assert "sk-test" not in repr(answer)
