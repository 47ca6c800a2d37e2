"""Paths, own endpoints, stored objects and model lists: what the listener lets through."""

from __future__ import annotations

from functools import partial

import pytest
from tests.support.call_rig import CallRig, Sent, bundle, credential, grant, route
from tests.support.eventually import eventually
from tests.support.surface_kit import rig_with

from keylease.contracts.policy import Revocation, RevocationKind, Target
from keylease.errors import StoreUnavailable, TokenExchangeRefused
from keylease.strongroom.gateway.interfaces import HttpAnswer
from keylease.strongroom.gateway.providers.anthropic import ANTHROPIC
from keylease.strongroom.gateway.providers.openai import OPENAI

# --- paths ---------------------------------------------------------------------------------------


def test_the_lists_are_what_the_documentation_promises() -> None:
    listed = {(operation.method, operation.template) for operation in OPENAI.operations}
    assert listed == {
        ("POST", "/chat/completions"),
        ("POST", "/responses"),
        ("GET", "/responses/{id}"),
        ("DELETE", "/responses/{id}"),
        ("POST", "/responses/{id}/cancel"),
        ("GET", "/responses/{id}/input_items"),
        ("POST", "/completions"),
        ("POST", "/embeddings"),
        ("GET", "/models"),
        ("GET", "/models/{model}"),
        ("POST", "/moderations"),
        ("POST", "/images/generations"),
        ("POST", "/images/edits"),
        ("POST", "/images/variations"),
        ("POST", "/audio/speech"),
        ("POST", "/audio/transcriptions"),
        ("POST", "/audio/translations"),
        ("POST", "/files"),
        ("GET", "/files"),
        ("GET", "/files/{id}"),
        ("DELETE", "/files/{id}"),
        ("GET", "/files/{id}/content"),
        ("POST", "/batches"),
        ("GET", "/batches"),
        ("GET", "/batches/{id}"),
        ("POST", "/batches/{id}/cancel"),
    }
    assert {(operation.method, operation.template) for operation in ANTHROPIC.operations} == {
        ("POST", "/v1/messages"),
        ("POST", "/v1/messages/count_tokens"),
        ("POST", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches"),
        ("GET", "/v1/messages/batches/{id}"),
        ("DELETE", "/v1/messages/batches/{id}"),
        ("POST", "/v1/messages/batches/{id}/cancel"),
        ("GET", "/v1/messages/batches/{id}/results"),
        ("GET", "/v1/models"),
        ("GET", "/v1/models/{model}"),
    }


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/v1",
        "/v1/",
        "/v2/chat/completions",
        "/chat/completions",
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/chat%2fcompletions",
        "/v1/chat/completions%00",
        "/V1/chat/completions",
        "/openai/chat/completions",
        "/openai/v1/v1/chat/completions",
        "/v1/openai/v1/chat/completions",
        "/v1/organization/admin_api_keys",
        "/v1/organization/projects/p/service_accounts",
        "/v1/organization/projects/p/api_keys",
        "/v1/organizations/api_keys",
        "/anthropic/v1/organizations/api_keys",
        "/anthropic/v1/oauth/token",
        "/v1/realtime",
        "/v1/realtime/sessions",
        "/v1/realtime/client_secrets",
        "/v1/realtime/transcription_sessions",
        "/v1/assistants",
        "/v1/threads/t/runs",
        "/v1/vector_stores",
        "/v1/uploads",
        "/v1/containers",
        "/v1/conversations",
        "/v1/fine_tuning/jobs",
        "/v1/webhooks",
        "/v1/files/file-1/other",
        "/v1/files/..",
        "/v1/files/file%2F1",
        "/v1/files/file-1;x",
        "/v1/files/" + "a" * 129,
        "/v1/responses/resp_1/../resp_2",
        "/v1/messages/batches/b/other",
        "/v1/messages/other",
        "/anthropic/v1/chat/completions",
        "/anthropic",
        "/oauth/authorize",
        "/metrics",
        "/admin",
        "/.well-known/openid-configuration",
    ],
)
async def test_everything_else_is_not_found(path: str) -> None:
    rig = rig_with()
    for method in ("GET", "POST"):
        call = rig.send(method, path, None)
        assert call.status == 404, call.body
        assert call.headers["x-request-id"]
        assert call.json
    assert not rig.calls
    assert not rig.link.records


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/chat/completions"),
        ("PUT", "/v1/chat/completions"),
        ("HEAD", "/v1/chat/completions"),
        ("OPTIONS", "/v1/chat/completions"),
        ("POST", "/v1/models"),
        ("DELETE", "/v1/models/gpt-4o"),
        ("PATCH", "/v1/files/file-1"),
        ("GET", "/v1/messages"),
        ("GET", "/oauth/token"),
        ("POST", "/healthz"),
        ("POST", "/readyz"),
        ("POST", "/.well-known/jwks.json"),
    ],
)
async def test_another_method_is_not_allowed(method: str, path: str) -> None:
    rig = rig_with()
    call = rig.send(method, path, None)
    assert call.status == 405
    allowed = call.headers["allow"].split(", ")
    assert allowed, "RFC 9110 section 15.5.6"
    assert method not in allowed
    assert all(name in ("DELETE", "GET", "HEAD", "POST") for name in allowed)
    assert not rig.calls


@pytest.mark.parametrize(
    ("path", "target", "model"),
    [
        ("/v1/chat/completions", "/v1/chat/completions", "gpt-4o"),
        ("/openai/v1/chat/completions", "/v1/chat/completions", "gpt-4o"),
        ("/v1/messages", "/v1/messages", "claude-4"),
        ("/anthropic/v1/messages", "/v1/messages", "claude-4"),
        ("/v1/messages/count_tokens?beta=true", "/v1/messages/count_tokens?beta=true", "claude-4"),
    ],
)
async def test_every_surface_leads_to_its_provider(path: str, target: str, model: str) -> None:
    rig = rig_with()
    rig.send("POST", path, {"model": model})
    assert rig.upstream.target == target
    secret = rig.secrets["cred-anthropic" if "claude" in model else "cred-openai"].decode()
    name = "x-api-key" if "claude" in model else "authorization"
    assert rig.upstream.headers[name].endswith(secret)


@pytest.mark.parametrize(
    "query",
    [
        "api-version=1", "model=gpt-9", "key=kll_x", "beta=true", "limit=1",
        "a", "&", "limit", "x=%0d%0a",
    ],
)  # fmt: skip
async def test_query_parameters_that_are_not_listed_are_refused(query: str) -> None:
    rig = rig_with()
    call = rig.send("POST", f"/v1/chat/completions?{query}", {"model": "gpt-4o"})
    assert (call.status, call.code) == (400, "request_malformed")
    assert not rig.calls
    assert ("Get a new one" in call.body.decode()) is ("kll_" in query)


# --- the lease -----------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [b"authorization", b"x-api-key", b"api-key", b"x-goog-api-key"])
async def test_a_lease_is_taken_from_four_headers(header: bytes) -> None:
    rig = rig_with()
    value = b"bearer " + rig.lease if header == b"authorization" else rig.lease
    body = b'{"model":"gpt-4o"}'
    json_type = (b"content-type", b"application/json")
    rig.send("POST", "/v1/chat/completions", body, headers=[(header, value), json_type], lease=b"")
    assert len(rig.calls) == 1
    assert rig.lease not in rig.upstream.raw_headers


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ([], 401, "lease_missing"),
        ([(b"x-api-key", b"")], 401, "lease_missing"),
        ([(b"authorization", b"Basic dTpw")], 401, "lease_malformed"),
        ([(b"authorization", b"Bearer sk-test-a-provider-key")], 401, "lease_malformed"),
        ([(b"x-api-key", b"kll_unknown")], 401, "lease_malformed"),
        ([(b"x-api-key", b"kll_a"), (b"api-key", b"kll_b")], 400, "request_malformed"),
        ([(b"authorization", b"Bearer a"), (b"authorization", b"Bearer b")], 400,
         "request_malformed"),
        ([(b"cookie", b"kll_a")], 401, "lease_missing"),
    ],
)  # fmt: skip
async def test_a_missing_or_doubtful_lease_is_refused(
    headers: list[tuple[bytes, bytes]], status: int, code: str
) -> None:
    rig = rig_with()
    call = rig.open("POST", "/v1/chat/completions", headers=headers, lease=b"", has_body=True)
    assert (call.status, call.code) == (status, code)
    assert call.headers["x-request-id"]
    call.handler.body_received(b"ignored")
    call.handler.request_complete()
    assert not rig.calls
    assert not rig.link.records


async def test_a_sender_bound_lease_needs_its_proof() -> None:
    from keylease.contracts.leases import Confirmation  # noqa: PLC0415 - of this test only

    rig = rig_with()
    bound = rig.make_lease(cnf=Confirmation(jkt="x" * 43))
    call = rig.send("POST", "/v1/chat/completions", {"model": "gpt-4o"}, lease=bound)
    assert (call.status, call.code) == (401, "sender_not_proven")


# --- error shapes --------------------------------------------------------------------------------


async def test_errors_have_the_shape_of_the_provider() -> None:
    rig = rig_with()
    openai = rig.open("POST", "/v1/chat/completions", lease=b"kll_no", has_body=True)
    error = openai.json["error"]
    assert isinstance(error, dict)
    assert error["type"] == "authentication_error"
    assert error["code"] == "lease_malformed"
    assert openai.headers["x-request-id"] in error["message"]
    anthropic = rig.open("POST", "/v1/messages", lease=b"kll_no", has_body=True)
    assert anthropic.json["type"] == "error"
    assert anthropic.json["request_id"] == anthropic.headers["request-id"]
    assert anthropic.json["error"]["type"] == "authentication_error"  # type: ignore[index]  # JSON


# --- own endpoints -------------------------------------------------------------------------------


async def test_own_endpoints() -> None:
    rig = rig_with()
    health = rig.send("GET", "/healthz", lease=b"")
    assert (health.status, health.json) == (200, {"status": "ok"})
    ready = rig.send("GET", "/readyz", lease=b"")
    assert (ready.status, ready.json) == (200, {"status": "ready"})
    jwks = rig.send("GET", "/.well-known/jwks.json", lease=b"")
    assert (jwks.status, jwks.json) == (200, {"keys": []})


async def test_token_exchange_is_handed_to_the_coordinator() -> None:
    rig = rig_with()
    rig.link.exchange_answer = HttpAnswer(
        200, (("Content-Type", "application/json"), ("Cache-Control", "no-store")), b'{"a":1}'
    )
    headers = [(b"content-type", b"application/x-www-form-urlencoded"), (b"dpop", b"proof")]
    call = rig.send("POST", "/oauth/token", b"grant_type=x", headers=headers, lease=b"")
    await eventually(lambda: call.status)
    assert (call.status, call.json, call.headers["cache-control"]) == (200, {"a": 1}, "no-store")
    assert rig.link.exchanges == [
        {
            "form": "grant_type=x",
            "content_type": "application/x-www-form-urlencoded",
            "dpop": "proof",
            "peer": "127.0.0.1",
        }
    ]
    large = rig.send("POST", "/oauth/token", b"x" * 70_000, headers=headers, lease=b"")
    assert large.status == 413


async def test_token_exchange_errors_are_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = rig_with()

    async def refuse(**_: object) -> HttpAnswer:
        raise TokenExchangeRefused("No rule admits this token.", oauth_error="invalid_grant")

    monkeypatch.setattr(rig.link, "exchange_token", refuse)
    call = rig.send("POST", "/oauth/token", b"x", headers=[(b"content-type", b"x")], lease=b"")
    await eventually(lambda: call.status)
    assert call.status == 400
    assert call.json["error"] == "token_exchange_refused"


async def test_no_calls_are_served_when_they_cannot_be_recorded() -> None:
    rig = rig_with()
    rig.link.accepting = False
    call = rig.chat()
    assert (call.status, call.code) == (503, "calls_not_accepted")
    assert "room" in call.body.decode()
    assert rig.send("GET", "/healthz", lease=b"").status == 200


# --- models --------------------------------------------------------------------------------------


async def test_models_are_what_the_lease_may_use_in_both_shapes() -> None:
    policy = bundle(
        routes=(
            route(
                models=("gpt-*",), targets=(Target(credential_id="cred-openai", model="gpt-4o"),)
            ),
            route("r2", models=("claude-4",), targets=(Target(credential_id="cred-anthropic"),)),
        )
    )
    rig = rig_with(policy)
    openai = await answered(rig.send("GET", "/v1/models"))
    assert [model["id"] for model in openai.json["data"]] == ["gpt-4o"]  # type: ignore[attr-defined]  # JSON
    version = [(b"anthropic-version", b"2023-06-01")]
    for path in ("/v1/models", "/anthropic/v1/models", "/anthropic/v1/models?limit=5"):
        anthropic = await answered(rig.send("GET", path, headers=version))
        assert [model["id"] for model in anthropic.json["data"]] == ["claude-4"]  # type: ignore[attr-defined]  # JSON
        assert anthropic.json["first_id"] == "claude-4"
    assert rig.send("GET", "/v1/models/gpt-4o").json["id"] == "gpt-4o"
    assert rig.send("GET", "/v1/models/gpt-5").json["id"] == "gpt-5"
    assert rig.send("GET", "/v1/models/o1").status == 404
    assert rig.send("GET", "/v1/models/claude-4", headers=version).json["type"] == "model"
    assert not rig.calls, "the policy names every one of them"
    assert {record.operation for record in rig.link.records} == {"models.list", "models.get"}


async def answered(call: Sent) -> Sent:
    await eventually(lambda: call.finished)
    return call


def listed(call: Sent) -> list[str]:
    return [model["id"] for model in call.json["data"]]  # type: ignore[attr-defined]  # JSON


def asked(rig: CallRig, calls: int) -> bool:
    return len(rig.calls) == calls


def served(*names: object) -> dict[str, object]:
    return {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}


async def test_a_pattern_lists_what_of_it_the_provider_serves_and_the_lease_may_use() -> None:
    policy = bundle(
        credentials=(credential(), credential("cred-other")),
        routes=(
            route("r1", models=("gpt-image-*",), targets=(Target(credential_id="cred-other"),)),
            route("r2", models=("gpt-*",)),
            route("r3", models=("o1",)),
        ),
        grants=(grant(models=("gpt-*", "o1")),),
    )
    rig = rig_with(policy)
    secret = rig.secrets["cred-openai"].decode()
    for expected in (
        {"cred-other": served("gpt-image-1", "gpt-4o"), "cred-openai": served("gpt-4o", "gpt-5")},
        {},
    ):
        call = rig.send("GET", "/v1/models")
        for number, (held_by, answer) in enumerate(expected.items()):
            await eventually(partial(asked, rig, number + 1))
            assert rig.upstream.target == "/v1/models"
            assert rig.secrets[held_by].decode() in rig.upstream.headers["authorization"]
            rig.upstream.answer(answer)
        await answered(call)
        assert listed(call) == ["gpt-4o", "gpt-5", "gpt-image-1", "o1"]
    assert len(rig.calls) == 2, "what was said is remembered"
    narrow = rig.make_lease(models=("gpt-4*", "o1"))
    assert listed(await answered(rig.send("GET", "/v1/models", lease=narrow))) == ["gpt-4o", "o1"]
    rig.clock.advance(301)
    again = rig.send("GET", "/v1/models")
    await eventually(lambda: len(rig.calls) == 3)
    rig.upstream.answer(served("gpt-image-2"))
    await eventually(lambda: len(rig.calls) == 4)
    rig.upstream.answer(served("dall-e-2", f"gpt-{secret}", "gpt 4", 5))
    assert listed(await answered(again)) == ["gpt-image-2", "o1"]


@pytest.mark.parametrize("status", [200, 307, 401, 500])
async def test_a_provider_without_a_list_takes_nothing_else_away(status: int) -> None:
    rig = rig_with(bundle(routes=(route(models=("gpt-*", "o1")),)))
    call = rig.send("GET", "/v1/models")
    await eventually(lambda: rig.calls)
    rig.upstream.answer(b"no JSON", status=status)
    assert listed(await answered(call)) == ["o1"]
    assert listed(await answered(rig.send("GET", "/v1/models"))) == ["o1"]
    assert len(rig.calls) == 1, "it is not asked again at once"


async def test_a_dead_store_or_connection_takes_nothing_else_away() -> None:
    rig = rig_with(bundle(routes=(route(models=("gpt-*", "o1")),)))
    call = rig.send("GET", "/v1/models")
    await eventually(lambda: rig.calls)
    rig.upstream.fail("connect", sent=False)
    assert listed(await answered(call)) == ["o1"]
    rig.clock.advance(11)
    rig.link.cached.clear()
    rig.link.store_error = StoreUnavailable("The store is away.")
    assert listed(await answered(rig.send("GET", "/v1/models"))) == ["o1"]
    assert len(rig.calls) == 1


async def test_a_revoked_credential_is_not_asked_with() -> None:
    rig = rig_with(bundle(routes=(route(models=("gpt-*", "o1")),)))
    rig.revocations.apply(
        Revocation(kind=RevocationKind.CREDENTIAL, value="cred-openai", at=rig.clock.now())
    )
    assert listed(await answered(rig.send("GET", "/v1/models"))) == ["o1"]
    assert not rig.calls


async def test_models_with_slashes_and_colons_are_found() -> None:
    policy = bundle(routes=(route(models=("meta/llama*", "ft:gpt*")),))
    rig = rig_with(policy)
    for path in ("meta/llama-3", "meta%2Fllama-3", "ft:gpt-4o:org::x", "ft%3Agpt-4o"):
        assert rig.send("GET", f"/v1/models/{path}").status == 200, path
    for path in ("", "a/../b%00", "%2e%2e", "a%20b"):
        assert rig.send("GET", f"/v1/models/{path}").status == 404, path
