"""Trust rules: what they match, what they become, and which are refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.lease_kit import rule

from keylease.contracts.policy import TrustRule
from keylease.errors import TokenExchangeRefused
from keylease.strongroom.leases import rules
from keylease.strongroom.leases.issue import PRINCIPAL

GITHUB_CLAIMS = {"repository_id": "101", "repository_owner_id": "202"}


def github_rule(**changes: object) -> TrustRule:
    base = rule(
        issuer=rules.GITHUB,
        claims=GITHUB_CLAIMS,
        principal="workload:github-{repository_id}",
        subject_once=True,
    )
    return rule(**{**{f: getattr(base, f) for f in base.__struct_fields__}, **changes})


def claims(**changes: object) -> dict[str, object]:
    return {"iss": "https://issuer.test", "aud": "keylease", "sub": "job", **changes}


def test_a_rule_matches_exact_values() -> None:
    assert rules.matches(rule(), claims())
    for changed in (
        {"sub": "job2"},
        {"sub": "JOB"},
        {"sub": ["job"]},
        {"sub": {"job": "job"}},
        {"sub": None},
        {"iss": "https://issuer.test/"},
        {"iss": ["https://issuer.test"]},
    ):
        assert not rules.matches(rule(), claims(**changed))
    assert not rules.matches(rule(claims={}), claims())


@pytest.mark.parametrize(
    ("audience", "good"),
    [
        ("keylease", True),
        (["keylease"], True),
        (["other", "keylease"], True),
        ("keylease2", False),
        ("Keylease", False),
        ("keylease ", False),
        (["other"], False),
        ([], False),
        (["keylease", 5], False),
        ({"keylease": 1}, False),
        (None, False),
        ("other keylease", False),
    ],
    ids=str,
)
def test_the_audience_is_exact(audience: object, *, good: bool) -> None:
    assert rules.matches(rule(), claims(aud=audience)) is good


def test_numbers_booleans_and_nested_claims_are_compared_as_text() -> None:
    nested = claims(
        **{"kubernetes.io": {"namespace": "ci", "pod/x": "p"}}, id=101, verified=True, share=1.5
    )
    for name, value, good in (
        ("id", "101", True),
        ("id", "0101", False),
        ("verified", "true", True),
        ("verified", "True", False),
        ("verified", "1", False),
        ("share", "1.5", False),
        ("/kubernetes.io/namespace", "ci", True),
        ("/kubernetes.io/pod~1x", "p", True),
        ("/kubernetes.io", "ci", False),
        ("/kubernetes.io/namespace/more", "ci", False),
        ("kubernetes.io", "ci", False),
        ("/", "", False),
    ):
        assert rules.matches(rule(claims={name: value}), nested) is good, name


def test_a_principal_is_filled_from_claims() -> None:
    made = rules.principal_of(rule(principal="workload:{org}/{sub}"), claims(org="acme"))
    assert made == "workload:acme/job"


@pytest.mark.parametrize(
    "value",
    ["a:b", "a*", "*", "a/b", "a b", "", "a\n", "user:root", "{sub}", "é", "a" * 129, None, ["a"]],
    ids=repr,
)
def test_a_claim_cannot_break_out_of_its_place(value: object) -> None:
    with pytest.raises(TokenExchangeRefused):
        rules.principal_of(rule(principal="workload:ci-{sub}"), claims(sub=value))


@given(st.text(max_size=40), st.text(max_size=40))
def test_two_subjects_never_become_the_same_principal(one: str, other: str) -> None:
    template = rule(principal="workload:{a}/{b}")
    made: dict[str, tuple[str, str]] = {}
    for a, b in ((one, other), (other, one)):
        try:
            principal = rules.principal_of(template, claims(a=a, b=b))
        except TokenExchangeRefused:
            continue
        assert PRINCIPAL.fullmatch(principal)
        assert made.setdefault(principal, (a, b)) == (a, b)


@pytest.mark.parametrize("event", ["pull_request_target", "workflow_run"])
def test_events_on_foreign_code_are_refused_unless_named(event: str) -> None:
    token = claims(iss=rules.GITHUB, **GITHUB_CLAIMS)
    assert rules.matches(github_rule(), {**token, "event_name": "push"})
    assert not rules.matches(github_rule(), {**token, "event_name": event})
    named = github_rule(claims={**GITHUB_CLAIMS, "event_name": event})
    assert rules.matches(named, {**token, "event_name": event})


def test_a_repository_that_took_over_a_name_is_not_admitted() -> None:
    token = claims(iss=rules.GITHUB, repository="acme/app", **GITHUB_CLAIMS)
    taken = github_rule(claims={**GITHUB_CLAIMS, "repository": "acme/app"})
    assert rules.matches(taken, token)
    assert not rules.matches(taken, {**token, "repository_id": "999"})
    assert not rules.matches(taken, {**token, "repository_owner_id": "999"})


@pytest.mark.parametrize(
    "issuer",
    [rules.GITHUB, f"{rules.GITHUB}/acme", "https://ghes.acme.test/_services/token"],
)
def test_names_alone_are_refused_for_github(issuer: str) -> None:
    assert rules.check_rule(github_rule(issuer=issuer)) == []
    for bad in (
        {"repository": "acme/app"},
        {"repository": "acme/app", "repository_id": "101"},
        {"repository_owner_id": "202", "sub": "repo:acme/app:ref:refs/heads/main"},
        {"repository_id": "acme/app", "repository_owner_id": "acme"},
    ):
        assert rules.check_rule(github_rule(issuer=issuer, claims=bad))


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"issuer": "issuer.test"}, "issuer"),
        ({"issuer": "https://issuer.test?x=1"}, "issuer"),
        ({"issuer": "ftp://issuer.test"}, "issuer"),
        ({"audience": ""}, "audience"),
        ({"audience": "*"}, "audience"),
        ({"claims": {}}, "claims"),
        ({"claims": {"sub": "repo:*"}}, "exactly"),
        ({"claims": {"sub": ""}}, "empty"),
        ({"claims": {"iss": "https://issuer.test"}}, "claims.iss"),
        ({"principal": "{sub}"}, "principal"),
        ({"principal": "workload:"}, "principal"),
        ({"principal": "root:x"}, "principal"),
        ({"principal": "{kind}:x"}, "principal"),
        ({"principal": "workload:*"}, "principal"),
        ({"principal": "workload:{}"}, "placeholder"),
        ({"principal": "workload:{sub"}, "principal"),
        ({"purposes": ()}, "purposes"),
        ({"environments": ()}, "environments"),
        ({"models": ("a b",)}, "models"),
        ({"maximum_lease_seconds": 0}, "maximum_lease_seconds"),
        ({"maximum_lease_seconds": 10**6}, "maximum_lease_seconds"),
    ],
    ids=str,
)
def test_every_mistake_is_named(changes: dict[str, object], word: str) -> None:
    problems = rules.check_rule(rule(**changes))
    assert len(problems) == 1
    assert word in problems[0]


def test_a_good_rule_has_no_problems() -> None:
    assert rules.check_rule(rule()) == []
