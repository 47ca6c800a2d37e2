"""A project's rules for personal data: what they find, what they leave, and that they are quick."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.secret_templates import fill
from tests.support.trace_kit import raw_span

from keylease.errors import InputInvalid
from keylease.platform.traces.ingest.masking import Masker
from keylease.platform.traces.ingest.own_expressions import OwnExpressions
from keylease.platform.traces.ingest.personal_data import (
    OwnRule,
    PersonalData,
    PersonalDataMasker,
    PersonalDataRules,
)
from keylease.platform.traces.model import Origin, RawEvent

EVERYTHING = PersonalDataMasker(PersonalDataRules(kinds=tuple(PersonalData)))


def own(expression: str, name: str = "customer") -> PersonalDataMasker:
    return PersonalDataMasker(PersonalDataRules(own=(OwnRule(name=name, expression=expression),)))


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("write to jo.ann+x@mail.example.com now", "write to [email] now"),
        ("JO@EXAMPLE.ORG", "[email]"),
        ("call +49 30 1234 5678!", "call [phone]!"),
        ("call (030) 123-45678", "call [phone]"),
        ("at 415-555-2671 today", "at [phone] today"),
        ("card 4111 1111 1111 1111.", "card [card]."),
        ("card 5500005555555559", "card [card]"),
        ("IBAN DE89 3704 0044 0532 0130 00 please", "IBAN [iban] please"),
        ("GB82WEST12345698765432", "[iban]"),
        ("from 192.168.10.7 port", "from [ip_address] port"),
        ("from 2001:db8::8a2e:370:7334 too", "from [ip_address] too"),
        ("ssn 078-05-1120", "ssn [us_ssn]"),
    ],
)
def test_personal_data_is_found(text: str, masked: str) -> None:
    assert EVERYTHING.masked(text) == masked
    assert EVERYTHING.suspects(f"before\n{text}\nafter")
    again = EVERYTHING.masked(masked)
    assert again == masked


@pytest.mark.parametrize(
    "text",
    [
        "order 4111 1111 1111 1112",  # the check digit does not fit
        "version 1.2.3.400",
        "at 12:30:45 on 2026-11-23",
        "a::b in C++",
        "DE89 3704 0044 0532 0130 01",
        "me@localhost",
        "666-12-3456 and 000-12-3456",
        "id 0b9e5b8c-52d1-4f6e-9a53-7f6c2b1d9e10",
        "tokens: 1234, cost 0.00042",
        "plain words",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    kinds = tuple(kind for kind in PersonalData if kind is not PersonalData.PHONE)
    rules = PersonalDataMasker(PersonalDataRules(kinds=kinds))
    assert rules.masked(text) == text


def test_only_what_is_wanted_is_taken_out() -> None:
    rules = PersonalDataMasker(PersonalDataRules(kinds=(PersonalData.EMAIL,)))
    assert rules.masked("a@example.com from 10.0.0.1") == "[email] from 10.0.0.1"


def test_json_in_a_text_stays_json() -> None:
    said = 'hello\njohn@example.com\u00e9\tjane@example.com "4111111111111111"\n'
    text = json.dumps([{"content": said}])
    masked = json.loads(EVERYTHING.masked(text))[0]["content"]
    assert masked == 'hello\n[email]\u00e9\t[email] "[card]"\n'


@pytest.mark.parametrize("vectorscan", [True, False])
def test_own_expressions_are_applied(vectorscan: bool) -> None:  # noqa: FBT001 - a test's parameter
    engine = OwnExpressions([("customer", r"C-[0-9]{4,8}")], vectorscan=vectorscan)
    text = "grüße an C-12345 und C-9876543, nicht C-12"
    assert [text[span.start : span.end] for span in engine.spans(text)] == ["C-12345", "C-9876543"]


def test_own_expressions_and_built_in_ones_may_overlap() -> None:
    rules = PersonalDataMasker(
        PersonalDataRules(
            kinds=(PersonalData.EMAIL,), own=(OwnRule(name="staff", expression="[a-z]+@acme"),)
        )
    )
    masked = rules.masked("to jo@acme.example, ann@acme")
    assert "jo" not in masked
    assert "ann" not in masked


@pytest.mark.parametrize("expression", ["(", r"(a)\1", "x*", "", "a" * 501, "(?=a)b"], ids=range(6))
def test_expressions_that_cannot_be_used_are_refused_with_their_name(expression: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        own(expression)
    assert "customer" in refused.value.message


@pytest.mark.parametrize(
    "expression", ["(a+)+b", "a+b", "(a{1,9}){1,9}b", "[a-z]{0,9}[a-z]{0,9}[a-z]{0,9}x", "(?=a)b"]
)
def test_without_vectorscan_what_could_be_slow_is_refused(expression: str) -> None:
    with pytest.raises(InputInvalid):
        OwnExpressions([("slow", expression)], vectorscan=False)


def test_names_are_those_that_fit_a_mask() -> None:
    with pytest.raises(InputInvalid):
        own("abc", name="Not A Name")


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=300), st.integers(0, 5))
def test_rules_take_any_text(text: str, place: int) -> None:
    whole = f"{text[:place]}jo@example.com {text[place:]}"
    assert "jo@example.com" not in EVERYTHING.masked(whole) or "@" in text


@pytest.mark.no_cover
def test_long_texts_take_time_in_proportion() -> None:
    chance = random.Random(3)  # noqa: S311 - no secret
    for letters in ("0", "a", "a.", "0 ", "@a.", "1:", "(0", "\\n", "A1", "+1-"):
        text = "".join(chance.choices(letters, k=60_000))
        EVERYTHING.masked(text)  # quadratic would take minutes, and the test would time out


def test_rules_reach_every_text_of_a_span() -> None:
    person = "jo@example.com"
    span = raw_span(
        name=person,
        status_message=person,
        attributes={person: 1, "list": [person], "object": {person: {"x": person}}},
        events=(RawEvent(person, 1, {"note": person}),),
        origin=Origin({"owner": person}, person, "1"),
    )
    (masked,) = Masker().masked([span], lambda _: (), EVERYTHING).spans
    assert person not in str(masked)
    assert masked.attributes == {
        "[email]": 1,
        "list": ["[email]"],
        "object": {"[email]": {"x": "[email]"}},
    }


def test_rules_reach_bytes_that_are_text() -> None:
    person, binary = "jo@example.com für José".encode(), b"\xff\x00jo@example.com"
    span = raw_span(
        attributes={"raw": person, "in": [{"x": person}], "binary": binary},
        events=(RawEvent("said", 1, {"note": person}),),
        origin=Origin({"owner": person}),
    )
    (masked,) = Masker().masked([span], lambda _: (), EVERYTHING).spans
    clean = "[email] für José".encode()
    assert masked.attributes == {"raw": clean, "in": [{"x": clean}], "binary": binary}
    assert masked.events[0].attributes == {"note": clean}
    assert masked.origin.resource == {"owner": clean}


def test_what_is_reported_of_a_secret_names_nobody() -> None:
    key = fill("sk-proj-{d:74}T3BlbkFJ{d:74}", 12)
    span = raw_span(name="mail to jo@example.org", attributes={"jo@example.org": key})
    (found,) = Masker().masked([span], lambda _: (), EVERYTHING).found
    assert (found.span_name, found.attribute) == ("mail to [email]", "[email]")


@pytest.mark.parametrize("vectorscan", [True, False])
def test_an_expression_that_would_be_huge_is_refused_before_it_is_compiled(
    vectorscan: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    with pytest.raises(InputInvalid, match="huge"):
        OwnExpressions([("huge", "(a{1,500}){1,500}")], vectorscan=vectorscan)
