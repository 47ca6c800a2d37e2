"""Paths, own endpoints, stored objects and model lists: what the listener lets through."""

from __future__ import annotations

import asyncio
import json
from functools import partial

import pytest
from tests.support.call_rig import CHAT_ANSWER, CallRig, Sent, bundle, credential, grant, route
from tests.support.eventually import eventually

from keylease.contracts.policy import ObjectAccess, Revocation, RevocationKind, Target
from keylease.contracts.purposes import Purpose
from keylease.errors import StorageFull, StoreUnavailable, TokenExchangeRefused
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.interfaces import HttpAnswer, OwnedObject, PriceQuote
from keylease.strongroom.gateway.providers.anthropic import ANTHROPIC
from keylease.strongroom.gateway.providers.openai import OPENAI

QUOTE = PriceQuote(input=1, output=1, cache_read=0, cache_write=0, version="1")
ALL = bundle(grants=(grant(objects=ObjectAccess.ALL),))


def rig_with(policy: object = None, **changes: object) -> CallRig:
    rig = CallRig(policy or bundle(), **changes)  # type: ignore[arg-type]  # as CallRig has them
    for model in ("gpt-4o-mini", "gpt-4o", "o1"):
        rig.link.prices["openai", model] = QUOTE
    rig.link.prices["anthropic", "claude-4"] = QUOTE
    return rig


# --- paths -------------------------------------------------------------------------------------


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


# --- the lease ---------------------------------------------------------------------------------


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


# --- error shapes ------------------------------------------------------------------------------


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


# --- own endpoints -----------------------------------------------------------------------------


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


# --- models ------------------------------------------------------------------------------------


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


# --- stored objects ----------------------------------------------------------------------------


def owned(object_id: str, principal: str = "user:ada", held_by: str = "cred-openai") -> OwnedObject:
    return OwnedObject(
        object_id=object_id,
        principal=principal,
        credential_id=held_by,
        purpose="development",
        environment="local",
    )


def own(rig: CallRig, *objects: OwnedObject) -> None:
    rig.link.objects.update({made.object_id: made for made in objects})


async def settled(rig: CallRig, call: Sent) -> Sent:
    await eventually(lambda: call.status or rig.calls)
    return call


STATEFUL = [
    ("GET", "/v1/files/ID"),
    ("DELETE", "/v1/files/ID"),
    ("GET", "/v1/files/ID/content"),
    ("GET", "/v1/batches/ID"),
    ("POST", "/v1/batches/ID/cancel"),
    ("GET", "/v1/responses/ID?stream=true&starting_after=3&include%5B%5D=x"),
    ("DELETE", "/v1/responses/ID"),
    ("POST", "/v1/responses/ID/cancel"),
    ("GET", "/v1/responses/ID/input_items?limit=5"),
    ("GET", "/v1/messages/batches/ID"),
    ("DELETE", "/v1/messages/batches/ID"),
    ("POST", "/v1/messages/batches/ID/cancel"),
    ("GET", "/v1/messages/batches/ID/results"),
]


@pytest.mark.parametrize(("method", "path"), STATEFUL)
async def test_only_the_principal_that_created_an_object_uses_it(method: str, path: str) -> None:
    held_by = "cred-anthropic" if "messages" in path else "cred-openai"
    mine, theirs = path.replace("ID", "obj-1"), path.replace("ID", "obj-2")
    rig = rig_with()
    own(rig, owned("obj-1", held_by=held_by), owned("obj-2", "user:eve", held_by))
    for other in (theirs, path.replace("ID", "unknown")):
        refused = await settled(rig, rig.send(method, other))
        assert (refused.status, refused.code) == (403, "object_not_allowed")
    assert not rig.calls
    allowed = await settled(rig, rig.send(method, mine))
    assert rig.upstream.target == mine
    assert rig.secrets[held_by] in rig.upstream.raw_headers
    rig.upstream.answer(b"{}")
    await eventually(lambda: allowed.status == 200)
    assert rig.link.records[-1].path == path.partition("?")[0].replace("ID", "{id}")


async def test_a_grant_for_all_objects_reaches_them_through_their_own_credential() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
        grants=(grant(objects=ObjectAccess.ALL),),
    )
    rig = rig_with(policy)
    own(rig, owned("file-1", "user:eve", "b"))
    await settled(rig, rig.send("GET", "/v1/files/file-1"))
    assert rig.secrets["b"] in rig.upstream.raw_headers


async def test_an_object_of_a_credential_that_the_lease_does_not_reach_is_refused() -> None:
    policy = bundle(
        credentials=(credential(), credential("prod", purposes=(Purpose.PRODUCTION,))),
        routes=(
            route(targets=(Target(credential_id="cred-openai"), Target(credential_id="prod"))),
        ),
        grants=(grant(objects=ObjectAccess.ALL),),
    )
    rig = rig_with(policy)
    own(rig, owned("file-1", held_by="prod"))
    refused = await settled(rig, rig.send("GET", "/v1/files/file-1"))
    assert refused.code == "object_not_allowed"
    assert not rig.calls


@pytest.mark.parametrize(
    "body",
    [
        {"previous_response_id": "obj-2"},
        {"conversation": {"id": "obj-2"}},
        {"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "obj-2"}]}]},
        {"input": [{"type": "item_reference", "id": "obj-2"}]},
        {"tools": [{"type": "file_search", "vector_store_ids": ["obj-2"]}]},
        {"previous_response_id": "../files/x"},
    ],
)
async def test_bodies_cannot_name_other_peoples_objects(body: dict[str, object]) -> None:
    rig = rig_with()
    own(rig, owned("obj-2", "user:eve"))
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o", **body})
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (403, "object_not_allowed")
    assert not rig.calls


async def test_a_chain_of_responses_stays_with_the_credential_that_made_it() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b")),
        routes=(route(targets=(Target(credential_id="a"), Target(credential_id="b"))),),
    )
    rig = rig_with(policy)
    own(rig, owned("resp_1", held_by="b"))
    body: dict[str, object] = {"model": "gpt-4o", "previous_response_id": "resp_1"}
    await settled(rig, rig.send("POST", "/v1/responses", body))
    assert rig.secrets["b"] in rig.upstream.raw_headers


@pytest.mark.parametrize("path", ["/v1/files", "/v1/batches", "/v1/messages/batches"])
async def test_lists_need_a_grant_for_all_objects(path: str) -> None:
    rig = rig_with()
    refused = rig.send("GET", path)
    assert (refused.status, refused.code) == (403, "object_not_allowed")
    everybody = rig_with(ALL)
    everybody.send("GET", f"{path}?limit=2")
    assert everybody.upstream.target == f"{path}?limit=2"


async def test_a_new_response_is_remembered_before_the_client_has_it() -> None:
    rig = rig_with()
    rig.link.object_gate = asyncio.Event()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o", "input": "hi"})
    rig.upstream.answer({"id": "resp_1", "output": [{"id": "msg_1"}, {"id": "rs_1"}]})
    await asyncio.sleep(0.01)
    assert not call.status
    rig.link.object_gate.set()
    await eventually(lambda: call.finished)
    assert set(rig.link.objects) == {"resp_1", "msg_1", "rs_1"}
    assert rig.link.objects["resp_1"] == owned("resp_1")
    await settled(rig, rig.send("GET", "/v1/responses/resp_1"))


async def test_a_response_that_is_not_stored_is_not_remembered() -> None:
    rig = rig_with()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o", "store": False})
    rig.upstream.answer({"id": "resp_1"})
    assert call.finished
    assert not rig.link.objects


async def test_an_object_that_cannot_be_remembered_is_an_error() -> None:
    rig = rig_with()
    rig.link.object_error = StorageFull("The disk is full.")
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o"})
    rig.upstream.answer({"id": "resp_1"})
    await eventually(lambda: call.status)
    assert (call.status, call.code) == (503, "storage_full")


def event(kind: str, response: dict[str, object]) -> bytes:
    data = json.dumps({"type": kind, "response": response}, separators=(",", ":"))
    return f"event: {kind}\ndata: {data}\n\n".encode()


async def test_a_streamed_response_is_remembered_before_its_end_is_sent() -> None:
    rig = rig_with()
    rig.link.object_gate = asyncio.Event()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o", "stream": True})
    created = event("response.created", {"id": "resp_1", "output": []})
    completed = event("response.completed", {"id": "resp_1", "output": [{"id": "msg_1"}]})
    rig.upstream.stream(created[:20], created[20:], completed)
    assert call.body == created + completed
    await asyncio.sleep(0.01)
    assert not call.finished
    rig.link.object_gate.set()
    await eventually(lambda: call.finished)
    assert set(rig.link.objects) == {"resp_1", "msg_1"}


async def test_a_stream_that_its_client_left_is_remembered_too() -> None:
    rig = rig_with()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o", "stream": True})
    rig.upstream.stream(event("response.created", {"id": "resp_1"}), complete=False)
    call.handler.client_gone()
    await eventually(lambda: rig.link.objects)
    assert set(rig.link.objects) == {"resp_1"}


async def test_the_files_a_batch_makes_belong_to_who_made_the_batch() -> None:
    rig = rig_with()
    own(rig, owned("batch_1"))
    call = await settled(rig, rig.send("GET", "/v1/batches/batch_1"))
    rig.upstream.answer({"id": "batch_1", "output_file_id": "file-out", "error_file_id": None})
    await eventually(lambda: call.finished)
    assert set(rig.link.objects) == {"batch_1", "file-out"}


async def test_reading_somebody_elses_batch_does_not_make_it_ones_own() -> None:
    rig = rig_with(ALL)
    own(rig, owned("batch_1", "user:eve"))
    call = await settled(rig, rig.send("GET", "/v1/batches/batch_1"))
    rig.upstream.answer({"id": "batch_1", "output_file_id": "file-out"})
    await eventually(lambda: call.finished)
    assert set(rig.link.objects) == {"batch_1"}
    assert rig.link.objects["batch_1"].principal == "user:eve"


# --- batches -----------------------------------------------------------------------------------


async def test_every_model_of_an_anthropic_batch_must_be_allowed() -> None:
    rig = rig_with()
    request = {"custom_id": "1", "params": {"model": "claude-4", "max_tokens": 5}}
    call = rig.send("POST", "/v1/messages/batches", {"requests": [request, request]})
    assert len(rig.calls) == 1
    rig.upstream.answer({"id": "msgbatch_1", "type": "message_batch"})
    await eventually(lambda: call.finished)
    assert rig.link.objects["msgbatch_1"].credential_id == "cred-anthropic"
    assert rig.link.records[0].usage is None, "it is carried out later"
    other = {"custom_id": "2", "params": {"model": "gpt-4o", "max_tokens": 5}}
    assert rig.send("POST", "/v1/messages/batches", {"requests": [request, other]}).status == 403
    twice = {"custom_id": "2", "params": {"model": "claude-3", "max_tokens": 5}}
    assert rig.send("POST", "/v1/messages/batches", {"requests": [request, twice]}).status == 400
    assert len(rig.calls) == 1


# --- uploads -----------------------------------------------------------------------------------

FORM = (b"content-type", b"multipart/form-data; boundary=b")


UPLOADED = (
    b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data'
    b'\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhello'
    b"\r\n--b--\r\n"
)


async def test_an_upload_streams_through() -> None:
    rig = rig_with()
    call = rig.open("POST", "/v1/files", headers=[FORM], length=len(UPLOADED), has_body=True)
    sent = rig.upstream
    assert (sent.body, sent.content_length, sent.target) == (None, len(UPLOADED), "/v1/files")
    assert sent.headers["content-type"] == FORM[1].decode()
    call.handler.body_received(UPLOADED[:70])
    assert b"".join(sent.written).endswith(b"user_data"), "as it comes"
    sent.receiver.pause_writing()
    paused = call.reading_paused
    sent.receiver.resume_writing()
    assert (paused, call.reading_paused) == (True, False)
    call.handler.body_received(UPLOADED[70:])
    assert b"".join(sent.written).endswith(b"hello"), "the end waits until all was looked at"
    call.handler.request_complete()
    assert b"".join(sent.written) == UPLOADED
    assert sent.finished
    sent.answer({"id": "file-1"})
    await eventually(lambda: call.finished)
    assert rig.link.objects["file-1"].principal == "user:ada"


async def test_an_upload_waits_for_its_credential_without_being_read() -> None:
    rig = rig_with(None, warm=False)
    call = rig.open("POST", "/v1/files", headers=[FORM], has_body=True)
    paused = call.reading_paused
    call.handler.body_received(UPLOADED)
    await eventually(lambda: rig.calls)
    assert (paused, call.reading_paused) == (True, False)
    assert b"".join(rig.upstream.written).endswith(b"hello")
    before = rig.upstream.finished
    call.handler.request_complete()
    assert (before, rig.upstream.finished) == (False, True)
    assert b"".join(rig.upstream.written) == UPLOADED


async def test_an_upload_over_the_limit_is_cut_off() -> None:
    rig = rig_with(None, limits=WireLimits(upload_bytes=10))
    announced = rig.open("POST", "/v1/files", headers=[FORM], length=11, has_body=True)
    assert announced.status == 413
    assert not rig.calls
    chunked = rig.open("POST", "/v1/files", headers=[FORM], has_body=True)
    chunked.handler.body_received(b"x" * 11)
    assert chunked.status == 413
    assert rig.upstream.cancelled
    assert rig.upstream.written == []


async def test_encoded_uploads_are_refused() -> None:
    rig = rig_with()
    encoded = [FORM, (b"content-encoding", b"gzip")]
    assert rig.open("POST", "/v1/files", headers=encoded, has_body=True).status == 400
    plain = [(b"content-type", b"application/json")]
    assert rig.open("POST", "/v1/files", headers=plain, has_body=True).status == 400


async def test_chat_answers_pass_unchanged_on_both_surfaces() -> None:
    rig = rig_with()
    call = rig.send("POST", "/v1/messages", {"model": "claude-4", "max_tokens": 5})
    rig.upstream.answer(CHAT_ANSWER, headers=[(b"request-id", b"req_1")])
    assert call.json == CHAT_ANSWER
    assert call.headers["request-id"] == "req_1"
    assert rig.link.records[0].provider_request_id == "req_1"


async def test_usage_counts_although_the_client_left_before_the_end_was_sent() -> None:
    rig = rig_with()
    rig.link.object_gate = asyncio.Event()
    call = rig.send("POST", "/v1/responses", {"model": "gpt-4o"})
    usage = {"input_tokens": 9, "output_tokens": 3, "total_tokens": 12}
    rig.upstream.answer({"id": "resp_1", "model": "gpt-4o", "usage": usage})
    await asyncio.sleep(0.01)
    call.handler.client_gone()
    rig.link.object_gate.set()
    [record] = rig.link.records
    assert record.usage is not None
    assert (record.usage.output_tokens, record.estimated, record.client_gone) == (3, False, True)
    await eventually(lambda: rig.link.objects)


async def test_a_client_that_leaves_an_error_answer_pays_nothing() -> None:
    rig = rig_with()
    call = rig.chat("gpt-4o")
    rig.upstream.head(500)
    rig.upstream.receiver.data_received(b"{")
    call.handler.client_gone()
    [record] = rig.link.records
    assert (record.status, record.usage, record.estimated) == (500, None, False)
