from __future__ import annotations

import pytest
from tests.support.call_rig import OPENAI_ORIGIN, binding

from keylease.contracts.patterns import matches
from keylease.contracts.purposes import Purpose
from keylease.errors import BindingMissing
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.configuration import Binding, Origin

DEVELOPMENT = Purpose.DEVELOPMENT


def decide(*bindings: Binding, **changes: object) -> Binding:
    question: dict[str, object] = {
        "reference": "vault://kv/team/openai#key",
        "provider": "openai",
        "origin": OPENAI_ORIGIN,
        "purpose": DEVELOPMENT,
        "environment": "local",
    }
    question.update(changes)
    return Bindings(bindings).decide(**question)  # type: ignore[arg-type]  # built above


def test_an_empty_file_refuses_all() -> None:
    with pytest.raises(BindingMissing, match="its reference"):
        decide()


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [
        ("vault://kv/team/openai#key", True),
        ("vault://kv/team/*#key", True),
        ("vault://kv/*#key", False),  # one star stops at a slash
        ("vault://kv/team/openai*", False),  # and at the field
        ("vault://kv/**", True),
        ("**", True),
        ("*", False),
        ("vault://kv/team/openai", False),
        ("vault://kv/team/openai#ke.", False),  # no other character is special
        ("sealed://*", False),
    ],
)
def test_reference_patterns(pattern: str, *, allowed: bool) -> None:
    wide = binding(reference=pattern)
    if allowed:
        assert decide(wide) is wide
    else:
        with pytest.raises(BindingMissing, match="its reference"):
            decide(wide)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"provider": "mistral"}, "provider mistral"),
        ({"origin": Origin("https", "evil.example", 443)}, "https://evil.example:443"),
        ({"origin": Origin("https", "api.openai.com", 8443)}, ":8443"),
        ({"origin": Origin("http", "api.openai.com", 443)}, "http://api.openai.com"),
        ({"purpose": Purpose.EVAL}, "purpose eval"),
        ({"environment": "staging"}, "environment staging"),
        ({"reference": "file:///etc/../etc/shadow"}, "not valid"),
        ({"reference": "vault://kv/%ff#key"}, "not valid"),
        ({"reference": "nonsense"}, "not valid"),
    ],
)
def test_each_part_is_compared_and_named_in_the_refusal(
    change: dict[str, object], reason: str
) -> None:
    narrow = binding(reference="**", purposes=(DEVELOPMENT,), environments=("loc*",))
    assert decide(narrow) is narrow
    with pytest.raises(BindingMissing, match=reason) as refused:
        decide(narrow, **change)
    assert refused.value.http_status == 403


def test_plain_http_needs_hosts_that_the_file_lists_itself() -> None:
    plain = Origin("http", "127.0.0.1", 8080)
    unlisted = binding(reference="**", origins=(plain,), listed=False)
    with pytest.raises(BindingMissing, match="http://127"):
        decide(unlisted, origin=plain)
    listed = binding(reference="**", origins=(plain,), listed=True)
    assert decide(listed, origin=plain) is listed


def test_parts_of_two_bindings_do_not_add_up() -> None:
    one = binding(reference="**", purposes=(Purpose.EVAL,))
    two = binding(reference="sealed://*", purposes=(DEVELOPMENT,))
    with pytest.raises(BindingMissing, match="purpose development"):
        decide(one, two)


def test_the_first_binding_that_allows_it_counts() -> None:
    narrow = binding(reference="vault://kv/team/*#key", maximum_micro_usd_per_day=5)
    wide = binding(reference="**")
    assert decide(narrow, wide) is narrow
    assert decide(wide, narrow) is wide


@pytest.mark.parametrize(
    ("pattern", "word", "expected"),
    [
        ("*", "", True),
        ("gpt-*", "gpt-4", True),
        ("gpt-*", "xgpt-4", False),
        ("gpt-?", "gpt-4", False),
        ("a[b]*", "a[b]c", True),
        ("a[b]*", "ab", False),
        ("user:*@example.org", "user:ada@example.org", True),
        ("user:*@example.org", "user:ada@example.org.evil", False),
    ],
)
def test_only_the_star_is_special_in_patterns(pattern: str, word: str, *, expected: bool) -> None:
    assert matches(pattern, word) is expected
