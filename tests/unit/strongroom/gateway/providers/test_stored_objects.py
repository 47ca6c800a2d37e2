"""Objects that a provider stores: each belongs to the principal that created it."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.support.call_rig import CallRig, Sent, bundle, credential, grant, route
from tests.support.eventually import eventually
from tests.support.surface_kit import rig_with

from keylease.contracts.policy import ObjectAccess, Target
from keylease.contracts.purposes import Purpose
from keylease.errors import StorageFull
from keylease.strongroom.gateway.interfaces import OwnedObject

ALL = bundle(grants=(grant(objects=ObjectAccess.ALL),))


# --- stored objects ------------------------------------------------------------------------------


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


# --- batches -------------------------------------------------------------------------------------


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
