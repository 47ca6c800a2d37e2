"""Bodies in which a provider could find another model or another object than the gateway did."""

from __future__ import annotations

import json

import pytest
from tests.support.call_rig import CallRig, bundle, grant

from keylease.errors import RequestMalformed
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.forms import FormBody, form_boundary
from keylease.strongroom.gateway.providers.openai import OPENAI

MINI = "gpt-4o-mini"


def objects(body: object, *, items: bool = True) -> tuple[str, ...]:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return JsonBody(data).objects(OPENAI.references, items=items)


# --- other models ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["models", "fallbacks", "fallback_models", "preset"])
async def test_a_list_of_models_beside_the_model_is_refused(name: str) -> None:
    rig = CallRig(bundle(grants=(grant(models=(MINI,)),)))
    call = rig.chat(MINI, **{name: ["gpt-5-pro"]})
    assert (call.status, call.code) == (400, "request_malformed")
    assert not rig.calls


@pytest.mark.parametrize(
    "changes",
    [
        {"tools": [{"type": "image_generation", "model": "gpt-image-1"}]},
        {"tools": [{"type": "function", "name": "f"}, {"type": "advisor", "model": "gpt-5"}]},
        {"plugins": [{"id": "fusion", "analysis_models": [MINI, "gpt-5"]}]},
    ],
)
async def test_a_lease_has_to_be_good_for_the_models_of_tools(changes: dict[str, object]) -> None:
    rig = CallRig(bundle(grants=(grant(models=(MINI,)),)))
    call = rig.chat(MINI, **changes)
    assert (call.status, call.code) == (403, "model_not_allowed")
    assert not rig.calls
    rig = CallRig()
    rig.link.prices_at_hand = False
    assert rig.chat(MINI, **changes).status == 0, "it was sent, or waits for a price"


async def test_a_property_of_a_function_may_be_called_model() -> None:
    schema = {"type": "object", "properties": {"model": {"enum": ["T", "S"]}, "models": {}}}
    rig = CallRig(bundle(grants=(grant(models=(MINI,)),)))
    tool = {"type": "function", "function": {"name": "buy_car", "parameters": schema}}
    assert rig.chat(MINI, tools=[tool]).status == 0


@pytest.mark.parametrize("name", ["Model", "MODEL", "\u017ftream", "N"])
def test_a_name_that_differs_by_case_is_refused(name: str) -> None:
    body = json.dumps({"model": MINI, name: "gpt-5-pro"}, ensure_ascii=False).encode()
    with pytest.raises(RequestMalformed):
        JsonBody(body)


def test_other_names_may_have_capitals() -> None:
    assert JsonBody(b'{"model":"a","topK":1,"_":2,"Tuning":3}').model == "a"


# --- objects that hide -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"a","conversation":{"id":"conv_theirs","id":"conv_mine"}}',
        b'{"model":"a","prompt":{"id":"pmpt_theirs","id":"pmpt_mine"}}',
        b'{"model":"a","tools":[{"container":{"id":"c_theirs","id":"c_mine"}}]}',
        b'{"model":"a","input":[{"type":"item_reference","id":"msg_theirs","type":"message"}]}',
        b'{"model":"a","input":[{"type":"message","id":"m","\\u0074ype":"item_reference"}]}',
    ],
)
def test_no_object_hides_behind_another_member_of_its_name(body: bytes) -> None:
    with pytest.raises(RequestMalformed):
        objects(body)


def test_an_earlier_image_is_a_stored_object() -> None:
    item: dict[str, object] = {"type": "image_generation_call", "id": "ig_1"}
    assert objects({"model": "a", "input": [item]}) == ("ig_1",)
    assert objects({"model": "a", "input": [{**item, "result": "iVBORw0KGgo="}]}) == ()


def test_a_body_at_the_limit_of_nesting_is_refused_or_read() -> None:
    refused = 0
    for depth in range(900, 1100):
        nested = b"[" * depth + b"]" * depth
        try:
            objects(b'{"model":"a","file_id":"f","y":" \\":","x":' + nested + b"}")
        except RequestMalformed:
            refused += 1
    assert refused


# --- forms -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="abc "',
        "multipart/form-data; boundary=abc/d",
        "multipart/form-data; boundary=abc=d",
        "multipart/form-data; boundary=abc:d",
        "multipart/form-data; boundary=abc?d",
    ],
)
def test_a_boundary_of_which_some_see_only_a_part_is_refused(content_type: str) -> None:
    with pytest.raises(RequestMalformed):
        form_boundary(content_type)


def form(*parts: str) -> FormBody:
    body = "".join(f"--xyz\r\nContent-Disposition: form-data; {part}\r\n" for part in parts)
    return FormBody(f"{body}--xyz--\r\n".encode(), "multipart/form-data; boundary=xyz")


@pytest.mark.parametrize(
    "part",
    [
        'name="model"; filename="x"\r\n\r\ngpt-4o',
        'name="model"; filename=""\r\n\r\ngpt-4o',
        "name=\"model\"; filename*=utf-8''x\r\n\r\ngpt-4o",
        'name="model "\r\n\r\ngpt-4o',
        'name=" Model"\r\n\r\ngpt-4o',
        'name="stream[]"\r\n\r\ntrue',
        'name="n"\r\n\r\n-1',
        'name="n"\r\n\r\n1e3',
        'name="n"; filename="x"\r\n\r\n1',
    ],
)
def test_a_field_that_others_would_read_differently_is_refused(part: str) -> None:
    with pytest.raises(RequestMalformed):
        form(part)


def test_the_number_of_answers_of_a_form_is_known() -> None:
    body = form('name="model"\r\n\r\ngpt-image-1', 'name="n"\r\n\r\n10')
    assert (body.model, body.choices) == ("gpt-image-1", 10)
