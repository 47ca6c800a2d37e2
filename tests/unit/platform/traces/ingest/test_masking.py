"""No secret of the detectors' corpus survives masking, wherever in a span it stands."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.secret_templates import fill
from tests.support.trace_kit import raw_span

from keylease.contracts.findings import Fingerprint
from keylease.detectors.definitions import ALL
from keylease.detectors.scanning import Scanner
from keylease.detectors.scanning.matches import Nature
from keylease.platform.traces.ingest.masking import Masker
from keylease.platform.traces.model import AttributeValue, Origin, RawEvent, RawLink, RawSpan
from keylease.primitives.fingerprints import new_keys

KEYS = new_keys("test")
MASKER = Masker()
SCANNER = Scanner()
TEMPLATES = sorted(
    {(definition.kind, template) for definition in ALL for template in definition.examples}
)
PLACES = (
    "name", "status", "key", "value", "json", "json in json", "base64", "hex", "list", "object",
    "object key", "event name", "event value", "event key", "link", "resource", "resource key",
    "bytes", "scope",
)  # fmt: skip


def secrets_in(text: str) -> list[bytes]:
    found = SCANNER.scan(text.encode())
    return [
        match.secret.reveal(why="the test looks for it")
        for match in found
        if match.nature is Nature.CANDIDATE
    ]


def span_with(text: str, place: str) -> RawSpan:
    attributes: dict[str, dict[str, AttributeValue]] = {
        "key": {text: "a value"},
        "value": {"note": text},
        "json": {"gen_ai.input.messages": json.dumps([{"role": "user", "content": text}])},
        "json in json": {"arguments": json.dumps({"inner": json.dumps({"content": text})})},
        "base64": {"blob": base64.b64encode(f"a file with {text} in it".encode()).decode()},
        "hex": {"dump": text.encode().hex()},
        "list": {"list": ["first", text, 3]},
        "object": {"object": {"inner": {"deep": [text]}}},
        "object key": {"object": {"inner": {text: 1}}},
        "bytes": {"raw": text.encode()},
    }
    return raw_span(
        name=text if place == "name" else "chat",
        status_message=text if place == "status" else "",
        attributes={"before": 1, **attributes.get(place, {}), "after": "words"},
        events=(
            RawEvent(
                text if place == "event name" else "choice",
                1,
                {"note": text}
                if place == "event value"
                else {text: 1}
                if place == "event key"
                else {},
            ),
        ),
        links=(RawLink("1" * 32, "2" * 16, {"note": text} if place == "link" else {}),),
        origin=Origin(
            {"env": text}
            if place == "resource"
            else {text: "x"}
            if place == "resource key"
            else {},
            text if place == "scope" else "library",
            "1.0",
        ),
    )


def forms(secret: bytes) -> Iterator[bytes]:
    yield secret
    yield json.dumps(secret.decode("latin-1"))[1:-1].encode()
    for shift in range(3):  # in base64 it looks different at each of three places
        yield base64.b64encode(b"x" * shift + secret)[4 if shift else 0 : -4]
    yield secret.hex().encode()


@settings(max_examples=120, deadline=None)
@given(st.sampled_from(TEMPLATES), st.sampled_from(PLACES), st.integers(0, 1000))
def test_no_secret_survives_wherever_it_stands(
    template: tuple[str, str], place: str, seed: int
) -> None:
    text = fill(template[1], seed)
    secrets = secrets_in(f"{place}: {text}")
    masked = MASKER.masked([raw_span(2), span_with(text, place)], KEYS.of)
    logged = msgspec.msgpack.encode(masked.spans)
    for secret in secrets:
        for form in forms(secret):
            assert len(form) < 8 or form not in logged, (template, place)
    assert masked.spans[0] == raw_span(2)
    if secrets and place in {"value", "json", "event value"}:
        assert masked.found


@pytest.mark.parametrize("place", PLACES)
def test_a_key_is_masked_at_every_place(place: str) -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 7)
    masked = MASKER.masked([span_with(f"my {key} here", place)], KEYS.of)
    assert key.encode() not in msgspec.msgpack.encode(masked.spans)
    (found,) = masked.found
    assert (found.provider, found.kind) == ("openai", "openai-project-key")
    assert key not in repr(found)
    assert found.fingerprints == KEYS.of(key.encode())
    assert found.attribute
    again = MASKER.masked(masked.spans, KEYS.of)
    assert again.spans == masked.spans
    assert again.found == []


def test_the_mask_shows_kind_and_fingerprint_and_leaves_json_whole() -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 8)
    content = json.dumps([{"role": "user", "content": f'use "{key}"\nplease'}])
    (span,) = MASKER.masked([raw_span(attributes={"messages": content})], KEYS.of).spans
    text = span.attributes["messages"]
    assert isinstance(text, str)
    digits = KEYS.of(key.encode())[0].value[:16]
    said = json.loads(text)[0]["content"]
    assert said == f'use "[secret:openai-project-key:{digits}]"\nplease'


def test_what_was_masked_elsewhere_stays_as_it_is() -> None:
    mask = "[secret:openai-project-key:0123456789abcdef]"
    text = f"api_key = {mask}, token: {mask}"
    span = raw_span(attributes={"note": text, "openai.api_key": mask})
    assert MASKER.masked([span], KEYS.of).spans == [span]


def test_spans_without_secrets_are_the_same_objects() -> None:
    spans = [raw_span(number, attributes={"text": "plain words"}) for number in range(3)]
    masked = MASKER.masked(spans, KEYS.of)
    assert masked.spans is spans
    assert masked.found == []


def test_examples_of_documentation_stay() -> None:
    span = raw_span(attributes={"note": "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE"})
    assert MASKER.masked([span], KEYS.of).spans == [span]


def test_what_one_span_hides_from_the_search_is_left_out_and_harms_no_other() -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 9)
    nested = f"see {key}"
    for _ in range(9):  # deeper than the detectors decode
        nested = base64.b64encode(f"within: {nested} and so on".encode()).decode()
    spans = [raw_span(1, attributes={"deep": nested}), raw_span(2, attributes={"note": key})]
    masked = MASKER.masked(spans, KEYS.of).spans
    assert key not in str(masked)
    text = str(masked[0].attributes["deep"])
    for _ in range(9):
        try:
            text = base64.b64decode(text.encode() + b"==").decode().split()[1]
        except (ValueError, IndexError):
            break
    assert key not in text


def test_spans_that_share_a_resource_share_it_masked_and_it_is_reported_once() -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 10)
    origin = Origin({"process.command": f"run --key {key}"}, "library", "1")
    masked = MASKER.masked([raw_span(n, origin=origin) for n in range(5)], KEYS.of)
    assert len({id(span.origin) for span in masked.spans}) == 1
    assert key not in str(masked.spans)
    assert len(masked.found) == 1


def test_a_secret_that_could_be_guessed_has_no_fingerprint() -> None:
    def nobody(_: bytes) -> tuple[Fingerprint, ...]:
        return ()

    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 11)
    (span,) = MASKER.masked([raw_span(attributes={"note": key})], nobody).spans
    assert span.attributes == {"note": "[secret:openai-project-key]"}


def test_bytes_are_known_by_the_name_they_stand_under() -> None:
    password = "Xk9" + "3scB8fnvGNx6jvr7S"
    attributes: dict[str, AttributeValue] = {
        "password": password.encode(),
        "config": {"db_password": [password.encode()]},
        "picture": password.encode(),
    }
    masked = MASKER.masked([raw_span(attributes=attributes)], KEYS.of)
    made = masked.spans[0].attributes
    assert password not in repr((made["password"], made["config"]))
    assert made["picture"] == password.encode()
    assert len(masked.found) == 2


INVISIBLE = ("\u200b", "\u00ad", "\u2060", "\ufeff", "\u200d", "\u202e", "\u2066", "\ufe0f")


@pytest.mark.parametrize("hidden", INVISIBLE)
@pytest.mark.parametrize("place", ["value", "json", "json in json", "name", "object key", "bytes"])
def test_characters_that_nobody_sees_hide_no_key(hidden: str, place: str) -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 12)
    broken = hidden.join(key[at : at + 20] for at in range(0, len(key), 20))
    masked = MASKER.masked([span_with(f"my {broken} here", place)], KEYS.of)
    logged = msgspec.msgpack.encode(masked.spans).decode("utf-8", "replace")
    for text in (key[8:28], key[40:60], key[-19:]):
        assert text not in logged
    assert [found.fingerprints for found in masked.found] == [KEYS.of(key.encode())]


def test_words_with_characters_that_nobody_sees_stay_as_they_are() -> None:
    span = raw_span(
        attributes={"note": "hy\u00adphen, a\u200bb, \U0001f469\u200d\U0001f4bb \u2764\ufe0f"}
    )
    assert MASKER.masked([span], KEYS.of).spans == [span]


def test_a_key_beside_an_example_of_documentation_is_masked() -> None:
    example = "AWS_ACCESS_KEY_ID=AKIA" + "IOSFODNN7EXAMPLE"
    secret = fill("{a:40}", 13)
    span = raw_span(attributes={"note": f"not {example} but AWS_SECRET_ACCESS_KEY={secret} it is"})
    (masked,) = MASKER.masked([span], KEYS.of).spans
    assert secret not in str(masked.attributes)
    assert example in str(masked.attributes)
