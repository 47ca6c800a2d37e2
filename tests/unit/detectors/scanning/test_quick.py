"""What makes the scanner quick on text without secrets loses none: triggers, escapes, suspicion."""

from __future__ import annotations

import re
import string
import urllib.parse

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.support.secret_templates import fill

from keylease.detectors.definitions import ALL, generic
from keylease.detectors.scanning import Scanner, scanner, views
from keylease.detectors.scanning.matcher import Candidate, Gate, LiteralMatcher

SCANNER = Scanner()
ESCAPE = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|([\"\\/bfnrt]))")
SHORT = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t"}
PIECES = st.sampled_from([
    b"\\", b"\\\\", b'\\"', b"\\n", b"\\u002d", b"\\u00", b"\\ud83d", b"\\/", b"u0041", b"n", b'"',
    b"%", b"%2", b"%41", b"%ff", b"-----BEGIN+RSA+PRIVATE+KEY-----", b"a+b", b"\xff", b"\x00",
])  # fmt: skip
WRITTEN = st.lists(PIECES, max_size=30).map(b"".join)
TELLING = st.sampled_from(["api_key", "token", "clientSecret", "DB_PASSWORD", "pwd", "credential"])
BETWEEN = st.sampled_from([
    ": ", "=", '": "', '\\": \\"', " => '", '", "value": "', "\n    value: ", " = os.environ ?? '",
    "%3D", '" {\n  type = string\n  default = "', ' := ["', "' || '",
])  # fmt: skip
VALUE = st.text(st.sampled_from(string.ascii_letters + string.digits + "+/_.~=-!*é"), max_size=140)


def one_by_one(match: re.Match[bytes]) -> bytes:
    if match[1] is not None:
        return chr(int(match[1], 16)).encode("utf-8", "replace")
    return SHORT.get(match[2], match[2])


@given(data=WRITTEN)
def test_escapes_are_taken_off_as_if_one_by_one(data: bytes) -> None:
    view = views.unescaped_json(data, 0)
    assert (data if view is None else view.data) == ESCAPE.sub(one_by_one, data)


@given(data=WRITTEN)
def test_percent_escapes_are_taken_off_as_if_one_by_one(data: bytes) -> None:
    view = views.unescaped_url(data, 0)
    expected = re.sub(rb"%([0-9a-fA-F]{2})", lambda found: bytes((int(found[1], 16),)), data)
    if view is not None:
        expected = expected.replace(b"BEGIN+RSA+PRIVATE+KEY", b"BEGIN RSA PRIVATE KEY")
    assert (data if view is None else view.data) == expected


@given(data=WRITTEN, start=st.integers(0, 60), size=st.integers(1, 20))
def test_places_lead_back_to_what_was_decoded(data: bytes, start: int, size: int) -> None:
    view = views.unescaped_json(b"<" + data + b">", 7)
    if view is None or start + size > len(view.data):
        return
    first, last = view.origin(start, start + size)
    assert 7 <= first < last <= 7 + len(data) + 2
    covered = (b"<" + data + b">")[first - 7 : last - 7]
    assert view.data[start : start + size] in ESCAPE.sub(one_by_one, covered)


@given(name=TELLING, between=BETWEEN, value=VALUE)
@example(name="api_key", between=": ", value="abcdefgh-ijkl-mnop-qrst-uvwxyz" * 4 + "abcdefg9")
@example(name="api_key", between=": ", value="abcdefab-abcd-abcd-abcd-abcdefabcdef")
@example(name="pwd", between="=", value="abcdefgh!Z")
@settings(max_examples=400)
def test_the_trigger_covers_every_generated_value(name: str, between: str, value: str) -> None:
    text = f"the {name}{between}{value}"
    slow = Scanner()
    slow._matcher = LiteralMatcher()
    expected = [(m.kind, m.start, m.end) for m in slow.scan(text.encode())]
    assert [(m.kind, m.start, m.end) for m in SCANNER.scan(text.encode())] == expected


@pytest.mark.parametrize("mark", ["9", "Q"])
@pytest.mark.parametrize("first", [*range(16), 40, 127])
def test_the_trigger_covers_a_mark_anywhere(first: int, mark: str) -> None:
    value = ("abcdefgh/ijkl.mnop-" * 8)[:first] + mark
    for length in {max(16, first + 1), 128}:
        whole = value + "x" * (length - len(value))
        assert re.search(generic.DEFINITIONS[0].trigger, f"key={whole}") is not None
    short = value[:8][:first] + mark + "xxxxxxx"
    if first < 8:
        assert re.search(generic.DEFINITIONS[3].trigger, f"pwd={short[:8]}") is not None


@pytest.mark.parametrize(
    "text",
    [
        '{"key": "gen_ai.input.messages", "value": {"stringValue": "hello there"}}',
        '{"key":"gen_ai.usage.input_tokens","value":{"intValue":"1024"}}',
        "The token was not accepted, please sign in again with your password.",
        "Basic knowledge is enough. Bearer of good news.",
    ],
)
def test_ordinary_words_end_in_the_matcher(text: str) -> None:
    assert SCANNER._matcher.candidates(text.encode())[0] == []


@given(seed=st.integers(0, 2**32), data=st.data())
@settings(max_examples=150)
def test_suspicion_is_what_a_scan_would_find(seed: int, data: st.DataObject) -> None:
    definition = data.draw(st.sampled_from(ALL))
    templates = (*definition.examples, *definition.counter_examples) or ("api_key={w:32}",)
    text = fill(data.draw(st.sampled_from(templates)), seed)
    texts = [text, urllib.parse.quote(text), text + "\\n\\u0041", text.replace("-", "\\u002d")]
    written = f"before {data.draw(st.sampled_from(texts))} behind".encode()
    assert SCANNER.suspects(written) is bool(SCANNER.scan(written))


def test_suspicion_ends_at_the_first_find(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scanner, "BLOCK", 64 * 1024)
    finder, searched = Scanner(), list[bytes]()
    candidates = finder._matcher.candidates

    def counted(block: bytes) -> tuple[list[Candidate], Gate]:
        searched.append(block)
        return candidates(block)

    monkeypatch.setattr(finder._matcher, "candidates", counted)
    key = fill(next(d for d in ALL if d.kind == "groq-api-key").examples[0], 1)
    assert finder.suspects(key.encode() + b" " + b"words " * 100_000)
    assert len(searched) == 1
    assert not finder.suspects(b"words " * 100_000)


def test_words_of_the_trigger_are_those_of_the_definitions() -> None:
    # Two definitions share one trigger, so that it is matched once.
    triggers = [definition.trigger for definition in generic.DEFINITIONS]
    assert len(set(triggers)) == len(triggers) - 1
