"""Issuing: never more than is allowed, and never less without saying so."""

from __future__ import annotations

import re
import secrets

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.lease_kit import LeaseKit, bundle, grant, rule, wish

from keylease.contracts.leases import LONGEST_LIFETIME
from keylease.contracts.patterns import any_covers, covers, matches
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    AccessDenied,
    ModelNotAllowed,
    PurposeNotAllowed,
    RequestMalformed,
)
from keylease.primitives.clock import MICROSECONDS

PATTERNS = st.text("ab*", min_size=1, max_size=7)
WORDS = st.text("abc", max_size=8)
NAMES = st.sampled_from(["*", "a*", "ab", "b", "b*", "ab*", "*b"])


@given(PATTERNS, WORDS)
def test_matching_agrees_with_a_regular_expression(pattern: str, word: str) -> None:
    expression = ".*".join(re.escape(piece) for piece in pattern.split("*"))
    assert matches(pattern, word) == (re.fullmatch(expression, word) is not None)


@given(PATTERNS, PATTERNS, WORDS)
def test_what_a_covered_pattern_describes_its_cover_describes(
    wide: str, narrow: str, word: str
) -> None:
    if covers(wide, narrow) and matches(narrow, word):
        assert matches(wide, word)


@given(PATTERNS, PATTERNS)
def test_a_pattern_that_is_not_covered_describes_something_more(wide: str, narrow: str) -> None:
    if not covers(wide, narrow):
        witness = narrow.replace("*", "c")
        assert matches(narrow, witness)
        assert not matches(wide, witness)


@pytest.mark.parametrize(
    ("wide", "narrow", "covered"),
    [
        ("gpt-*", "gpt-5*", True),
        ("gpt-*", "gpt-*", True),
        ("gpt-*", "*", False),
        ("gpt-*", "gpt*", False),
        ("*", "anything*", True),
        ("gpt-5", "gpt-5*", False),
        ("gpt-*-mini", "gpt-5*-mini", True),
        ("gpt-*-mini", "gpt-5-*", False),
        ("a*a", "a", False),
        ("**", "*", True),
    ],
)
def test_covering(wide: str, narrow: str, *, covered: bool) -> None:
    assert covers(wide, narrow) is covered


def test_matching_takes_no_time_on_hostile_patterns() -> None:
    assert not matches("*a" * 100 + "b", "a" * 256)


def test_a_lease_says_what_was_asked() -> None:
    kit = LeaseKit()
    lease = kit.lease(models=("gpt-5*",), lifetime=60, project="p", jkt="thumb")
    claims = lease.claims
    assert (claims.models, claims.exp - claims.iat) == (("gpt-5*",), 60)
    assert (claims.sub, claims.project, claims.via) == ("user:alice", "p", "")
    assert claims.cnf is not None
    assert claims.cnf.jkt == "thumb"
    assert lease.shortened_by == ""
    assert kit.verifier().verify(lease.token.encode()) == claims
    assert lease.token not in repr(lease)


def test_asking_for_no_model_gives_what_is_granted() -> None:
    assert LeaseKit().lease().claims.models == ("gpt-*", "claude-*")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"principal": "service_account:x"}, AccessDenied),
        ({"purpose": Purpose.PRODUCTION}, PurposeNotAllowed),
        ({"environment": "production"}, AccessDenied),
        ({"models": ("gemini-pro",)}, ModelNotAllowed),
        ({"models": ("*",)}, ModelNotAllowed),
        ({"models": ("gpt-4", "gemini-pro")}, ModelNotAllowed),
    ],
    ids=str,
)
def test_asking_for_more_is_refused_with_the_reason(
    changes: dict[str, object], error: type[AccessDenied]
) -> None:
    with pytest.raises(error) as caught:
        LeaseKit().lease(**changes)
    assert caught.value.message


@pytest.mark.parametrize(
    "changes",
    [
        {"principal": "alice"},
        {"principal": "root:alice"},
        {"principal": "user:*"},
        {"principal": "user:a b"},
        {"principal": "user:a:b"},
        {"principal": "user:"},
        {"environment": "ci-*"},
        {"environment": ""},
        {"models": ("",)},
        {"models": ("a b",)},
        {"models": ("gpt\n",)},
        {"models": ("gpt\0",)},
        {"models": ("é",)},
        {"models": tuple(f"m{n}" for n in range(65))},
        {"lifetime": 0},
        {"lifetime": -1},
    ],
    ids=range(16),
)
def test_what_nobody_can_ask_for(changes: dict[str, object]) -> None:
    with pytest.raises(RequestMalformed):
        LeaseKit().lease(**changes)


def test_two_grants_do_not_add_up_across_purposes() -> None:
    """A grant for eval and one for production never make one lease for both."""
    kit = LeaseKit()
    policy = bundle(
        grant(id="1", models=("cheap",), purposes=(Purpose.PRODUCTION,)),
        grant(id="2", models=("dear",), purposes=(Purpose.EVAL,)),
    )
    with pytest.raises(ModelNotAllowed):
        kit.issuer.issue(wish(purpose=Purpose.EVAL, models=("cheap",)), policy)


@pytest.mark.parametrize(
    ("asked", "granted", "configured", "expected", "whose"),
    [
        (None, 900, 900, 900, ""),
        (None, 300, 900, 300, ""),
        (60, 900, 900, 60, ""),
        (3600, 900, 7200, 900, "the grant"),
        (3600, 7200, 600, 600, "gateway.toml"),
        (10**9, 10**9, 10**9, LONGEST_LIFETIME, "Keylease"),
    ],
)
def test_only_the_lifetime_is_shortened_and_that_is_said(
    asked: int | None, granted: int, configured: int, expected: int, whose: str
) -> None:
    kit = LeaseKit(maximum_lease_seconds=configured)
    lease = kit.issuer.issue(wish(lifetime=asked), bundle(grant(maximum_lease_seconds=granted)))
    assert lease.claims.exp - lease.claims.iat == expected
    assert whose in lease.shortened_by
    assert bool(whose) == bool(lease.shortened_by)


def test_a_lease_never_outlives_its_subject_token() -> None:
    kit = LeaseKit()
    now = kit.clock.now() // MICROSECONDS
    lease = kit.lease(not_after=now + 100, lifetime=600)
    assert lease.claims.exp == now + 100
    assert "subject token" in lease.shortened_by
    with pytest.raises(AccessDenied):
        kit.lease(not_after=now)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"purpose": Purpose.DEVELOPMENT}, PurposeNotAllowed),
        ({"environment": "local"}, AccessDenied),
        ({"models": ("claude-x",)}, ModelNotAllowed),
        ({"rule": rule(maximum_lease_seconds=0)}, AccessDenied),
    ],
    ids=["purpose", "environment", "models", "time"],
)
def test_a_trust_rule_is_a_ceiling(changes: dict[str, object], error: type[AccessDenied]) -> None:
    base: dict[str, object] = {
        "principal": "workload:job",
        "purpose": Purpose.EVAL,
        "environment": "ci-1",
        "rule": rule(),
    }
    kit = LeaseKit()
    lease = kit.lease(**base)
    assert (lease.claims.models, lease.claims.via) == (("gpt-*",), "rule-1")
    with pytest.raises(error):
        kit.lease(**{**base, **changes})


@given(
    asked=st.lists(NAMES, max_size=3),
    granted=st.lists(st.lists(NAMES, min_size=1, max_size=2), min_size=1, max_size=3),
    ceiling=st.none() | st.lists(NAMES, min_size=1, max_size=2),
    word=WORDS,
)
def test_a_lease_never_matches_a_model_that_grant_or_rule_does_not(
    asked: list[str], granted: list[list[str]], ceiling: list[str] | None, word: str
) -> None:
    policy = bundle(
        *(
            grant(id=str(n), models=tuple(models), purposes=(Purpose.EVAL,), environments=("*",))
            for n, models in enumerate(granted)
        )
    )
    limit = None if ceiling is None else rule(models=tuple(ceiling), environments=("*",))
    try:
        lease = LeaseKit().issuer.issue(
            wish(purpose=Purpose.EVAL, models=tuple(asked), rule=limit), policy
        )
    except AccessDenied:
        return
    if any(matches(model, word) for model in lease.claims.models):
        assert any(matches(model, word) for models in granted for model in models)
        assert ceiling is None or any(matches(model, word) for model in ceiling)
        assert not asked or any(matches(model, word) for model in asked)


@given(
    st.sampled_from(list(Purpose)),
    st.lists(st.sampled_from(list(Purpose)), min_size=1, max_size=3),
)
def test_a_lease_has_a_purpose_of_one_of_its_grants(asked: Purpose, granted: list[Purpose]) -> None:
    policy = bundle(*(grant(id=str(n), purposes=(p,)) for n, p in enumerate(granted)))
    try:
        lease = LeaseKit().issuer.issue(wish(purpose=asked), policy)
    except PurposeNotAllowed:
        assert asked not in granted
    else:
        assert lease.claims.purpose is asked
        assert asked in granted


def test_covering_by_two_patterns_together_does_not_count() -> None:
    assert not any_covers(["a*", "b*"], "*")


@pytest.mark.parametrize("field", ["principal", "environment", "project", "models"])
@pytest.mark.parametrize("prefix", ["sk-proj-", "kll_"])
def test_what_looks_like_a_key_has_no_place_in_a_lease(field: str, prefix: str) -> None:
    key = prefix + secrets.token_hex(20)
    value: object = {"principal": f"user:{key}", "models": (key,)}.get(field, key)
    kit = LeaseKit()
    with pytest.raises(RequestMalformed) as caught:
        kit.issuer.issue(wish(**{field: value}), bundle(grant(environments=("*",), models=("*",))))
    assert key not in str(caught.value)
