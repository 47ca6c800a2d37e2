from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.errors import RequestMalformed
from keylease.primitives.http1.interfaces import RequestHead
from keylease.strongroom.gateway.call.bodies import JsonBody, check_encoding
from keylease.strongroom.gateway.call.forms import FormBody, form_boundary
from keylease.strongroom.gateway.providers.anthropic import ANTHROPIC
from keylease.strongroom.gateway.providers.openai import OPENAI

FORM = "multipart/form-data; boundary=xyz"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b'"model"',
        b"{",
        b"{} {}",
        b"{'model': 1}",
        b'{"a":1,}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":-Infinity}',
        b'{"a":1e999}',
        b'{"a":01}',
        b'{"a":"\xff"}',
        b'{"\xff":1}',
        b'{"a":"\xed\xa0\x80"}',
        b'{"a":"\\ud800"}',
        b'{"a":"\x01"}',
        b"\xef\xbb\xbf{}",
        '{"model":"gpt-4"}'.encode("utf-16"),
        b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"a":' + b'{"b":' * 5000 + b"1" + b"}" * 5001,
        b"{}\0",
    ],
)
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    with pytest.raises(RequestMalformed):
        JsonBody(data)


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"a","model":"b"}',
        b'{"model":"a","model":"a"}',
        b'{"model":"a","mod\\u0065l":"b"}',
        b'{"mod\\u0065l":"a","\\u006dodel":"b"}',
        b'{ "x": {"model": 1}, "model": "a", "stream": true, "model" : "b" }',
        b'{"":1,"":2}',
        b'{"a\\/b":1,"a/b":2}',
        '{"ä":1,"ä":2}'.encode(),
    ],
)
def test_a_member_that_was_sent_twice_is_refused(data: bytes) -> None:
    with pytest.raises(RequestMalformed, match="twice"):
        JsonBody(data)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"{ }",
        b'{"model":"a"}',
        b'{\n  "model": "a",\n  "messages": []\n}',
        b'{"mod\\u0065l":"a"}',
        b'{"model":"a","x":{"model":"b"}}',
        b'{"x":[{"a":1,"a":2}]}',
        '{"ä":"ö","model":"a"}'.encode(),
    ],
)
def test_what_can_be_read_in_one_way_passes_unchanged(data: bytes) -> None:
    body = JsonBody(data)
    assert body.members == json.loads(data)
    assert body.rewritten() is data


@pytest.mark.parametrize("model", [b"1", b"[]", b'""', b'"a\\nb"', b'"%s"' % (b"x" * 300)])
def test_a_model_that_is_no_name_is_refused(model: bytes) -> None:
    body = JsonBody(b'{"model":' + model + b"}")
    with pytest.raises(RequestMalformed, match="model"):
        _ = body.model


def test_rewriting_keeps_every_other_byte_of_the_values() -> None:
    data = b'{"model":"a","n":1.0,"big":123456789012345678901234567890,"s":"\\u00e4 \\/"}'
    written = JsonBody(data).rewritten(model="b")
    assert b'"n":1.0' in written
    assert b"123456789012345678901234567890" in written
    assert b'"\\u00e4 \\/"' in written
    assert json.loads(written)["model"] == "b"


@pytest.mark.parametrize(
    "data",
    [
        b'{"model":"m","stream":true}',
        b'{ "stream" : true, "n": 1.50, "model": "m" } \r\n\t',
        b'{"stream":true,"messages":[{"stream_options":1}],"x":{}}\n',
    ],
)
def test_asking_for_usage_leaves_every_other_byte_as_it_was(data: bytes) -> None:
    written = JsonBody(data).rewritten(include_usage=True)
    assert json.loads(written) == json.loads(data) | {"stream_options": {"include_usage": True}}
    assert written.startswith(data.rstrip()[:-1])


@pytest.mark.parametrize(
    "data",
    [
        b'{"stream":true,"stream_options":null}',
        b'{"stream":true,"stream_options":{}}',
        b'{"stream":true,"\\u0073tream_options":{"include_usage":false}}',
    ],
)
def test_asking_for_usage_names_the_member_once(data: bytes) -> None:
    written = JsonBody(JsonBody(data).rewritten(include_usage=True))
    assert written.members == {"stream": True, "stream_options": {"include_usage": True}}


def test_usage_is_asked_for_beside_other_stream_options() -> None:
    body = JsonBody(b'{"model":"a","stream":true,"stream_options":{"include_obfuscation":false}}')
    assert body.streamed
    assert not body.asks_for_usage
    written = json.loads(body.rewritten(include_usage=True))
    assert written["stream_options"] == {"include_obfuscation": False, "include_usage": True}
    asking = JsonBody(b'{"stream":true,"stream_options":{"include_usage":true}}')
    assert asking.asks_for_usage


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"previous_response_id": "resp_1"}, ["resp_1"]),
        ({"conversation": "conv_1"}, ["conv_1"]),
        ({"conversation": {"id": "conv_1"}}, ["conv_1"]),
        ({"prompt": {"id": "pmpt_1"}}, ["pmpt_1"]),
        ({"prompt": "a prompt"}, []),
        ({"input_file_id": "file-1"}, ["file-1"]),
        ({"input": [{"content": [{"type": "input_file", "file_id": "file-1"}]}]}, ["file-1"]),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["vs_1", "vs_2"]}]},
         ["vs_1", "vs_2"]),
        ({"tools": [{"container": {"type": "auto", "file_ids": ["file-1"]}}]}, ["file-1"]),
        ({"tools": [{"container": "cntr_1"}]}, ["cntr_1"]),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, ["msg_1"]),
        ({"input": [{"id": "msg_1"}]}, ["msg_1"]),
        ({"input": [{"type": "reasoning", "id": "rs_1", "summary": []}]}, ["rs_1"]),
        ({"input": [{"type": "reasoning", "id": "rs_1", "encrypted_content": "x"}]}, []),
        ({"input": [{"role": "user", "content": "hi"}]}, []),
        ({"input": "hi"}, []),
        ({"metadata": {"conversation": "mine", "file_id": "free text"}}, []),
        ({"tools": [{"parameters": {"properties": {"file_id": {"type": "string"}}}}]}, []),
    ],
)  # fmt: skip
def test_stored_objects_are_found_at_any_depth(
    body: dict[str, object], expected: list[str]
) -> None:
    for separators in ((",", ":"), (", ", ": ")):
        data = json.dumps(body, separators=separators).encode()
        assert list(JsonBody(data).objects(OPENAI.references, items=True)) == expected


def test_an_object_cannot_hide_behind_a_duplicate_or_an_escape() -> None:
    for twice in (
        b'{"conversation":{"id":"mine","id":"theirs"}}',
        b'{"x":{"file_id":"theirs","file_id":1}}',
        b'{"x":{"source":{"file_id":"theirs"},"source":{}}}',
    ):
        with pytest.raises(RequestMalformed):
            JsonBody(twice).objects(OPENAI.references, items=True)
    escaped = JsonBody(b'{"x":{"file\\u005fid":"theirs"}}')
    assert escaped.objects(OPENAI.references, items=False) == ("theirs",)
    anthropic = JsonBody(b'{"messages":[{"content":[{"source":{"file_id":"file_1"}}]}]}')
    assert anthropic.objects(ANTHROPIC.references, items=False) == ("file_1",)


class Members(list[tuple[str, object]]):
    """An object as it is written: names may be there twice."""


NAMES = st.sampled_from(["a", "b", "file_id", "", 'q"', "é", ": ", "metadata"])
DOCUMENTS = st.recursive(
    st.one_of(st.none(), st.integers(-9, 9), st.text('":{}[],\\ x\n', max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(st.tuples(NAMES, inner), max_size=4).map(Members)
    ),
    max_leaves=10,
)


def written(value: object, space: str, *, ascii_only: bool) -> str:
    if isinstance(value, Members):
        members = [
            f"{json.dumps(name, ensure_ascii=ascii_only)}{space}:{space}"
            f"{written(item, space, ascii_only=ascii_only)}"
            for name, item in value
        ]
        return "{" + f",{space}".join(members) + "}"
    if isinstance(value, list):
        return f"[{','.join(written(item, space, ascii_only=ascii_only) for item in value)}]"
    return json.dumps(value, ensure_ascii=ascii_only)


def doubled(value: object) -> bool:
    if isinstance(value, Members):
        names = [name for name, _ in value]
        return len(set(names)) != len(names) or any(doubled(item) for _, item in value)
    return isinstance(value, list) and any(doubled(item) for item in value)


def names_in(value: object) -> set[str]:
    if isinstance(value, Members):
        found = {name for name, _ in value}
        return found.union(*(names_in(item) for _, item in value))
    return set().union(*map(names_in, value)) if isinstance(value, list) else set()


@given(
    st.lists(st.tuples(NAMES, DOCUMENTS), max_size=4).map(Members),
    st.sampled_from(["", " ", "\n", "\t", "\r", " \n "]),
    st.sampled_from(["escaped", "plain"]),
)
@settings(max_examples=400, deadline=None)
def test_names_are_known_only_where_none_was_sent_twice(
    document: Members, space: str, form: str
) -> None:
    data = written(document, space, ascii_only=form == "escaped").encode()
    top = [name for name, _ in document]
    if len(set(top)) != len(top):
        with pytest.raises(RequestMalformed, match="twice"):
            JsonBody(data)
        return
    body = JsonBody(data)
    if doubled(document):
        assert body.names is None
    elif body.names is not None:
        assert body.names == names_in(document)
    else:
        assert ":" in "".join(texts_in(document)), "only a colon in a text makes it uncertain"


def texts_in(value: object) -> list[str]:
    if isinstance(value, Members):
        return [name for name, _ in value] + [t for _, item in value for t in texts_in(item)]
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [value] if isinstance(value, str) else []


def test_the_models_of_a_batch_are_all_found_and_renamed() -> None:
    data = b'{"requests":[{"params":{"model":"a","x":1.0}},{"params":{"model":"b"}}]}'
    body = JsonBody(data)
    assert body.batch_models() == ("a", "b")
    written = body.with_models({"a": "c", "b": "b"})
    assert written == b'{"requests":[{"params":{"model":"c","x":1.0}},{"params":{"model":"b"}}]}'
    assert body.with_models({"a": "a", "b": "b"}) is data


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b'{"requests":[]}',
        b'{"requests":{}}',
        b'{"requests":[{"params":{}}]}',
        b'{"requests":[{"params":{"model":1}}]}',
        b'{"requests":[1]}',
        b'{"requests":[{"params":{"model":"a","model":"b"}}]}',
        b'{"requests":[{"params":{"model":"a"},"params":{"model":"b"}}]}',
    ],
)
def test_a_batch_that_hides_a_model_is_refused(data: bytes) -> None:
    with pytest.raises(RequestMalformed):
        JsonBody(data).batch_models()


def head(*fields: tuple[bytes, bytes]) -> RequestHead:
    return RequestHead(
        method="POST", target=b"/", path="/", query="", headers=list(fields),
        keep_alive=True, content_length=1, has_body=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        ((b"content-type", b"text/plain"),),
        ((b"content-type", b"application/json"), (b"content-encoding", b"gzip")),
        ((b"content-type", b"application/json"), (b"content-encoding", b"br")),
        ((b"content-type", b"application/json"), (b"content-type", b"application/json")),
    ],
)
def test_encoded_and_other_bodies_are_refused(fields: tuple[tuple[bytes, bytes], ...]) -> None:
    with pytest.raises(RequestMalformed):
        check_encoding(head(*fields), media_types=("application/json",))


def form(*parts: bytes, end: bytes = b"--xyz--\r\n") -> bytes:
    return b"".join(b"--xyz\r\n" + part + b"\r\n" for part in parts) + end


def field(name: bytes, value: bytes) -> bytes:
    return b'Content-Disposition: form-data; name="' + name + b'"\r\n\r\n' + value


FILE = (
    b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\n\r\n\x00\xff\r\n--xy\r\nmodel"
)


def test_a_form_gives_its_model_wherever_it_is() -> None:
    data = form(FILE, field(b"model", b"whisper-1"), field(b"stream", b"true"))
    body = FormBody(data, FORM)
    assert (body.model, body.streamed) == ("whisper-1", True)
    assert body.rewritten(model="") is data
    renamed = FormBody(body.rewritten(model="other"), FORM)
    assert renamed.model == "other"
    assert FILE in renamed.data
    assert not FormBody(form(FILE), FORM).model
    assert (
        FormBody(FormBody(form(FILE), FORM).rewritten(model="dall-e-2"), FORM).model == "dall-e-2"
    )


@pytest.mark.parametrize(
    "data",
    [
        b"",
        form(field(b"model", b"a"), field(b"model", b"b")),
        form(field(b"model", b"a"), field(b"Model", b"b")),
        form(field(b"model", b"")),
        form(field(b"model", b"\xff")),
        form(b"Content-Disposition: form-data; name=model\r\n\r\na"),
        form(b'Content-Disposition: form-data; name="mo\\"del"\r\n\r\na'),
        form(b"Content-Disposition: form-data; name*=UTF-8''model\r\n\r\na"),
        form(b'Content-Disposition: form-data; name="x"; name="model"\r\n\r\na'),
        form(b'Content-Disposition: form-data; name="x"\r\nContent-Disposition: form-data; '
             b'name="model"\r\n\r\na'),
        form(b'Content-Disposition: attachment; name="model"\r\n\r\na'),
        form(field(b"model", b"a").replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64"
             b"\r\n\r\n")),
        form(field(b"model", b"a").replace(b"\r\n\r\n", b"\r\nX: y\r\n\r\n")),
        form(field(b"model", b"a"), end=b""),
        form(field(b"model", b"a"), end=b"--xyz--\r\n--xyz\r\n"),
        b"preamble\r\n" + form(field(b"model", b"a")),
        form(field(b"model", b"a")).replace(b"\r\n", b"\n"),
        form(b"no header at all"),
        form(b"Content-Type: text/plain\r\n\r\nno name"),
        b"--xyz\r\n\r\nno head\r\n--xyz--\r\n",
        form(*(field(b"x%d" % n, b"") for n in range(257))),
    ],
)  # fmt: skip
def test_a_form_that_can_be_read_in_two_ways_is_refused(data: bytes) -> None:
    with pytest.raises(RequestMalformed):
        FormBody(data, FORM)


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=a; boundary=b",
        'multipart/form-data; boundary="a\\"b"',
        "multipart/mixed; boundary=a",
        "multipart/form-data; boundary=" + "a" * 71,
        "multipart/form-data; boundary=ä",
    ],
)
def test_a_boundary_that_can_be_read_in_two_ways_is_refused(content_type: str) -> None:
    with pytest.raises(RequestMalformed):
        form_boundary(content_type)


def test_boundaries_that_clients_write() -> None:
    for content_type in (
        "multipart/form-data; boundary=0123abcdef",
        "multipart/form-data;boundary=----WebKitFormBoundaryABC",
        'multipart/form-data; boundary="===============1=="',
    ):
        assert form_boundary(content_type)


@pytest.mark.parametrize("size", [10, 5_000, 300_000])
@pytest.mark.parametrize("filler", ["words ", "a: b, ", 'say \\"x\\": y '])
def test_a_member_sent_twice_is_found_in_bodies_of_any_size(size: int, filler: str) -> None:
    content = filler * (size // len(filler) + 1)
    once = f'{{"model": "a", "messages": [{{"content": "{content}"}}], "n": 1}}'
    assert JsonBody(once.encode()).names in ({"model", "messages", "content", "n"}, None)
    for twice in (once.replace('"n": 1', '"model": "b"'), once.replace('"n": 1', '"n" : 1, "n":2')):
        with pytest.raises(RequestMalformed):
            JsonBody(twice.encode())
