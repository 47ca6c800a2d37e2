"""Large texts are kept whole, apart from the row that names them."""

import hashlib
import json

import msgspec
from tests.support.span_kit import said, understand
from tests.support.trace_kit import NOW, raw_span

from keylease.platform.traces.interfaces import Understood
from keylease.platform.traces.model import LARGE_PAYLOAD, RawEvent


def whole(made: Understood, digest: str) -> str:
    (found,) = (payload.text for payload in made.payloads if payload.digest == digest)
    assert hashlib.sha256(found.encode()).hexdigest() == digest
    return found


def test_a_large_input_is_kept_whole_and_its_beginning_stays() -> None:
    text = "é" * LARGE_PAYLOAD
    made = understand(raw_span(attributes={"keylease.input": text}))
    row = made.span
    assert json.loads(whole(made, row.input_payload)) == text
    assert json.dumps(text, ensure_ascii=False).startswith(row.input)
    assert 0 < len(row.input.encode()) <= 4096
    assert row.input_preview == "é" * 512
    assert (row.output, row.output_payload) == ("", "")


def test_a_large_attribute_is_named_in_its_place() -> None:
    text = "x" * LARGE_PAYLOAD
    made = understand(raw_span(attributes={"note": text, "small": "y"}))
    reference = said(made.span.attributes["note"])
    assert json.loads(whole(made, reference["keylease.payload"])) == text
    assert reference["bytes"] == LARGE_PAYLOAD + 2
    assert made.span.attributes["small"] == '"y"'


def test_the_same_text_is_kept_once() -> None:
    text = json.dumps({"question": "x" * LARGE_PAYLOAD}, separators=(",", ":"))
    made = understand(raw_span(attributes={"keylease.input": text, "keylease.output": text}))
    assert made.span.input_payload == made.span.output_payload != ""
    # The attribute is the text of a text: another one.
    assert len(made.payloads) == 2


def test_a_text_of_exactly_the_limit_is_not_large() -> None:
    text = "x" * (LARGE_PAYLOAD - 2)
    made = understand(raw_span(attributes={"keylease.input": text}))
    assert (made.payloads, made.span.input) == ((), f'"{text}"')


def test_a_large_attribute_of_an_event_is_kept_apart() -> None:
    event = RawEvent("noted", NOW, {"text": "x" * LARGE_PAYLOAD})
    made = understand(raw_span(events=(event,)))
    (kept,) = said(made.span.events)
    assert (kept["name"], kept["at"]) == ("noted", NOW)
    assert whole(made, kept["attributes"]["text"]["keylease.payload"])


def test_a_large_image_stands_as_a_reference() -> None:
    url = "data:image/png;base64," + "iVBO" * 1000
    part = {"type": "image_url", "image_url": {"url": url}}
    message = {"role": "user", "content": [{"type": "text", "text": "What is this?"}, part]}
    attributes = {"gen_ai.input.messages": json.dumps([message, message])}
    made = understand(raw_span(attributes=attributes))
    addresses = [
        content[1]["image_url"]["url"]
        for content in (shown["content"] for shown in said(made.span.input))
    ]
    assert addresses[0] == addresses[1]
    assert whole(made, addresses[0].removeprefix("keylease-payload:")) == url
    assert made.span.input_preview == "What is this?"
    assert len(made.payloads) == 1


def test_what_is_made_of_a_span_is_the_same_each_time() -> None:
    span = raw_span(attributes={"keylease.input": "x" * LARGE_PAYLOAD, "n": 1})
    assert msgspec.json.encode(understand(span)) == msgspec.json.encode(understand(span))


def test_names_tags_and_scores_have_bounds_and_the_attributes_have_all() -> None:
    name = "m" * 5000
    row = understand(
        raw_span(
            attributes={
                "gen_ai.request.model": name,
                "session.id": name,
                "tag.tags": [name] * 1000,
                "openinference.span.kind": "LLM",
                **{f"braintrust.scores.{number:04}": 1 for number in range(1000)},
            }
        )
    ).span
    assert (len(row.model), len(row.session_id)) == (512, 512)
    assert (len(row.tags), len(row.tags[0])) == (256, 512)
    assert list(row.scores) == [f"{number:04}" for number in range(256)]
    assert said(row.attributes["session.id"]) == name
