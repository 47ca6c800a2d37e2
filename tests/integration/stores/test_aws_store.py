from __future__ import annotations

import asyncio
import gzip
import json
import logging
import os
import sys
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import pytest
from tests.support.aws import REGION, Aws
from tests.support.plain_answers import answering
from tests.support.stalling_proxy import stalling_proxy
from tests.support.store_tools import fake_key, opened, reference

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.primitives.clock import SystemClock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.connectors.aws_sm import AwsSecretsManager
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores import aws_sm
from keylease.strongroom.stores.aws_sm import AwsSecretsManagerStore
from keylease.strongroom.stores.cache import CredentialCache

Open = Callable[..., AwsSecretsManagerStore]


@pytest.fixture(autouse=True)
def no_identity_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delitem(os.environ, name)
    monkeypatch.setitem(os.environ, "AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setitem(os.environ, "AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setitem(os.environ, "AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
async def open_store(aws: Aws) -> AsyncIterator[Open]:
    stores: list[AwsSecretsManagerStore] = []

    def make(
        *,
        endpoint: str | None = None,
        environment: dict[str, str] | None = None,
        timeout: float = 5.0,
        stage: str = "AWSCURRENT",
    ) -> AwsSecretsManagerStore:
        identity = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
        values = identity if environment is None else environment
        store = AwsSecretsManagerStore(
            StoreSettings(
                aws_endpoint=aws.endpoint if endpoint is None else endpoint,
                timeout_seconds=timeout,
                attempts=2,
                aws_version_stage=stage,
            ),
            clock=SystemClock(),
            environment={name: Secret(value) for name, value in values.items()},
        )
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


class One:
    """A source for the cache: one store, which nothing can tell of changes."""

    def __init__(self, store: AwsSecretsManagerStore) -> None:
        self.fetch = store.fetch

    async def signature(self, _: Reference) -> None:
        return None


def cached(store: AwsSecretsManagerStore) -> tuple[CredentialCache, list[object]]:
    fetches: list[object] = []
    cache = CredentialCache(
        One(store),
        clock=SystemClock(),
        settings=StoreSettings(),
        on_fetch=lambda _, outcome: fetches.append(outcome),
    )
    return cache, fetches


def name() -> str:
    return f"prod/{uuid.uuid4().hex}"


async def test_text_json_and_binary(aws: Aws, open_store: Open) -> None:
    client, store = aws.secrets_manager(), open_store()
    plain, member, binary = fake_key(), fake_key(), fake_key()
    names = [name() for _ in range(3)]
    version = client.create_secret(Name=names[0], SecretString=plain)["VersionId"]
    client.create_secret(Name=names[1], SecretString=json.dumps({"key": member, "n": 1}))
    client.create_secret(Name=names[2], SecretBinary=binary.encode())
    before = time.time_ns() // 1000
    fetched = await store.fetch(reference(f"aws-sm://{REGION}/{names[0]}"))
    assert (opened(fetched), fetched.version) == (plain, version)
    assert before <= fetched.fetched_at <= time.time_ns() // 1000
    assert opened(await store.fetch(reference(f"aws-sm://{REGION}/{names[1]}#key"))) == member
    assert opened(await store.fetch(reference(f"aws-sm://{REGION}/{names[2]}"))) == binary


async def test_what_is_wrong_with_a_secret_is_told(aws: Aws, open_store: Open) -> None:
    client, store = aws.secrets_manager(), open_store()
    value = fake_key()
    structured, plain, binary = name(), name(), name()
    client.create_secret(Name=structured, SecretString=json.dumps({"key": value, "n": 1}))
    client.create_secret(Name=plain, SecretString=value)
    client.create_secret(Name=binary, SecretBinary=value.encode())
    for text, error, words in (
        (f"{REGION}/{structured}#wrong", SecretNotFound, "no field wrong"),
        (f"{REGION}/{structured}#n", SecretInvalid, "not text"),
        (f"{REGION}/{plain}#key", SecretInvalid, "no JSON object"),
        (f"{REGION}/{binary}#key", SecretInvalid, "binary"),
        (f"{REGION}/absent", SecretNotFound, "no secret absent"),
        (f"us-east-1/{plain}", SecretNotFound, "us-east-1"),
    ):
        with pytest.raises(error, match=words) as caught:
            await store.fetch(reference(f"aws-sm://{text}"))
        assert value not in str(caught.value)
        assert caught.value.__cause__ is None
        assert caught.value.__context__ is None, "no foreign error travels along"


async def test_stages_and_rotation(aws: Aws, open_store: Open) -> None:
    client, store = aws.secrets_manager(), open_store()
    secret, first, second = name(), fake_key(), fake_key()
    client.create_secret(Name=secret, SecretString=first)
    wanted = reference(f"aws-sm://{REGION}/{secret}")
    one = await store.fetch(wanted)
    client.put_secret_value(SecretId=secret, SecretString=second)
    two = await store.fetch(wanted)
    assert (opened(one), opened(two)) == (first, second)
    assert one.version != two.version
    assert opened(await open_store(stage="AWSPREVIOUS").fetch(wanted)) == first
    with pytest.raises(SecretNotFound, match="version stage"):
        await open_store(stage="NOSUCHSTAGE").fetch(wanted)


async def test_a_secret_due_for_deletion(aws: Aws, open_store: Open) -> None:
    client, secret = aws.secrets_manager(), name()
    client.create_secret(Name=secret, SecretString=fake_key())
    client.delete_secret(SecretId=secret, RecoveryWindowInDays=7)
    with pytest.raises(SecretNotFound, match="restore-secret"):
        await open_store().fetch(reference(f"aws-sm://{REGION}/{secret}"))


async def test_no_identity_is_told(open_store: Open) -> None:
    with pytest.raises(StoreAccessDenied, match="NoCredentialsError"):
        await open_store(environment={}).fetch(reference(f"aws-sm://{REGION}/x"))


async def test_identity_from_the_default_chain(
    aws: Aws, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, value = name(), fake_key()
    aws.secrets_manager().create_secret(Name=secret, SecretString=value)
    credentials = tmp_path / "credentials"
    credentials.write_text("[work]\naws_access_key_id = a\naws_secret_access_key = b\n")
    monkeypatch.setitem(os.environ, "AWS_SHARED_CREDENTIALS_FILE", str(credentials))
    monkeypatch.setitem(os.environ, "AWS_PROFILE", "work")
    store = open_store(environment={})
    assert opened(await store.fetch(reference(f"aws-sm://{REGION}/{secret}"))) == value


async def test_endpoint_and_proxy_variables_change_nothing(
    aws: Aws, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = "http://127.0.0.1:9"
    profile = tmp_path / "config"
    profile.write_text(f"[default]\nendpoint_url = {elsewhere}\n")
    monkeypatch.setitem(os.environ, "AWS_CONFIG_FILE", str(profile))
    for variable in (
        "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER",
        "HTTP_PROXY",
        "http_proxy",
        "HTTPS_PROXY",
        "AWS_CA_BUNDLE",
    ):
        monkeypatch.setitem(os.environ, variable, elsewhere)
    secret, value = name(), fake_key()
    store = open_store()
    client = store._client(REGION)
    aws_own = open_store(endpoint="")._client(REGION)
    assert client.meta.endpoint_url == aws.endpoint
    assert aws_own.meta.endpoint_url == f"https://secretsmanager.{REGION}.amazonaws.com"
    assert client._endpoint.http_session._proxy_config._proxies == {}
    client.create_secret(Name=secret, SecretString=value)
    assert opened(await store.fetch(reference(f"aws-sm://{REGION}/{secret}"))) == value


@pytest.mark.parametrize("way", ["variable", "profile", "home"])
async def test_nor_does_a_description_of_aws_that_lies_elsewhere(
    way: str, open_store: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """botocore would take it before its own, and it names the host of each service."""
    models = tmp_path / ".aws" / "models"
    package = Path(botocore.__file__).parent / "data" / "secretsmanager"
    rules = next(package.glob("*/endpoint-rule-set-1.json*"))
    text = gzip.decompress(rules.read_bytes()) if rules.suffix == ".gz" else rules.read_bytes()
    place = models / "secretsmanager" / rules.parent.name
    place.mkdir(parents=True)
    changed = text.replace(b"https://secretsmanager", b"https://elsewhere")
    assert changed != text
    (place / "endpoint-rule-set-1.json").write_bytes(changed)
    if way == "variable":
        monkeypatch.setitem(os.environ, "AWS_DATA_PATH", str(models))
    elif way == "profile":
        (tmp_path / "config").write_text(f"[default]\ndata_path = {models}\n")
        monkeypatch.setitem(os.environ, "AWS_CONFIG_FILE", str(tmp_path / "config"))
    else:
        monkeypatch.setattr(botocore.loaders.Loader, "CUSTOMER_DATA_PATH", str(models))
    hosts = [
        asked_host(open_store(endpoint="")._client(REGION)),
        asked_host(AwsSecretsManager()._client(REGION)),
    ]
    assert hosts == [f"secretsmanager.{REGION}.amazonaws.com"] * 2


def asked_host(client: Any) -> str | None:  # noqa: ANN401 - botocore ships no types
    operation = client.meta.service_model.operation_model("GetSecretValue")
    url: str = client._ruleset_resolver.construct_endpoint(operation, {}, {}).url
    return urlsplit(url).hostname


async def test_rotated_under_load_costs_one_fetch_and_no_failure(
    aws: Aws, open_store: Open
) -> None:
    """A provider that refuses the old key: all who used it share one fresh fetch."""
    client, store = aws.secrets_manager(), open_store()
    secret, first, second = name(), fake_key(), fake_key()
    client.create_secret(Name=secret, SecretString=json.dumps({"key": first}))
    cache, fetches = cached(store)
    wanted = reference(f"aws-sm://{REGION}/{secret}#key")
    accepted = {first}
    rotated = asyncio.Event()
    await cache.get(wanted)

    async def call() -> bool:
        held = await cache.get(wanted)
        await asyncio.sleep(0)
        if opened(held) not in accepted:
            held = await cache.get(wanted, fetched_after=held.fetched_at)
        return opened(held) in accepted

    async def caller() -> bool:
        before = [await call() for _ in range(20)]
        await rotated.wait()
        return all(before) and all([await call() for _ in range(20)])

    async def rotation() -> None:
        text = json.dumps({"key": second})
        await asyncio.to_thread(client.put_secret_value, SecretId=secret, SecretString=text)
        accepted.clear()
        accepted.add(second)
        rotated.set()

    outcomes, _ = await asyncio.gather(asyncio.gather(*(caller() for _ in range(16))), rotation())
    assert all(outcomes)
    assert len(fetches) == 2
    await cache.close()


async def test_nothing_of_a_secret_is_logged(
    aws: Aws, open_store: Open, caplog: pytest.LogCaptureFixture
) -> None:
    secret, value = name(), fake_key()
    aws.secrets_manager().create_secret(Name=secret, SecretString=value)
    caplog.set_level(logging.DEBUG)
    await open_store().fetch(reference(f"aws-sm://{REGION}/{secret}"))
    assert value not in caplog.text


async def test_down_slow_and_back_again(aws: Aws, open_store: Open) -> None:
    secret, value = name(), fake_key()
    aws.secrets_manager().create_secret(Name=secret, SecretString=value)
    wanted = reference(f"aws-sm://{REGION}/{secret}")
    port = urlsplit(aws.endpoint).port
    assert port is not None
    async with stalling_proxy(port) as proxy:
        store = open_store(endpoint=f"http://127.0.0.1:{proxy.port}", timeout=1.0)
        assert opened(await store.fetch(wanted)) == value
        proxy.stalled = True
        with pytest.raises(StoreTimedOut, match="1 seconds"):
            await store.fetch(wanted)
        proxy.stalled, proxy.refusing = False, True
        with pytest.raises(StoreUnavailable) as caught:
            await store.fetch(wanted)
        assert not isinstance(caught.value, StoreTimedOut)
        proxy.refusing = False
        assert opened(await store.fetch(wanted)) == value


@pytest.mark.parametrize(
    ("status", "code", "error"),
    [
        (400, "AccessDeniedException", StoreAccessDenied),
        (400, "UnrecognizedClientException", StoreAccessDenied),
        (400, "ExpiredTokenException", StoreAccessDenied),
        (400, "DecryptionFailure", StoreAccessDenied),
        (400, "InvalidParameterException", SecretInvalid),
        (400, "ThrottlingException", StoreUnavailable),
        (500, "InternalServiceError", StoreUnavailable),
        (503, "<script>", StoreUnavailable),
    ],
)
async def test_each_refusal_has_its_error(
    open_store: Open, status: int, code: str, error: type[Exception]
) -> None:
    told = fake_key()
    body = json.dumps({"__type": code, "Message": f"about {told}"}).encode()
    with answering(status, body) as server:
        store = open_store(endpoint=server.url)
        with pytest.raises(error) as caught:
            await store.fetch(reference(f"aws-sm://{REGION}/x"))
    assert told not in str(caught.value)
    assert "<" not in str(caught.value)
    assert server.requests == (2 if error is StoreUnavailable else 1)


@pytest.mark.parametrize("body", [b"", b"{}", b"not json", b"[1]", b'{"SecretString": 1}'])
async def test_garbage_is_an_error_of_ours(open_store: Open, body: bytes) -> None:
    with answering(200, body) as server, pytest.raises((SecretInvalid, StoreUnavailable)):
        await open_store(endpoint=server.url).fetch(reference(f"aws-sm://{REGION}/x"))


async def test_without_the_sdk_the_advice_names_the_extra(
    open_store: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(StoreUnsupported, match=r"keylease\[aws\]"):
        await open_store().fetch(reference(f"aws-sm://{REGION}/x"))


def test_importing_the_store_does_not_import_the_sdk() -> None:
    assert "boto3" not in vars(aws_sm)
