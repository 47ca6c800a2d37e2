from __future__ import annotations

from typing import Any

import msgspec
import pytest
from tests.support.policy_kit import budget, credential, grant, route, trust_rule

from keylease.contracts.policy import BudgetPeriod, ContentRecording, Limits, ObjectAccess
from keylease.contracts.purposes import Purpose
from keylease.platform.policy.resources import (
    AgeAction,
    CredentialState,
    GrantContent,
    PolicyContents,
    SettingsContent,
    TargetContent,
)
from keylease.platform.policy.widening import widenings


def codes(before: PolicyContents, after: PolicyContents) -> set[str]:
    return {widening.code for widening in widenings(before, after)}


def base() -> PolicyContents:
    return PolicyContents(
        credentials={
            "c": credential(
                gateway_groups=("eu-*",), maximum_age_seconds=9, age_action=AgeAction.REFUSE
            )
        },
        routes={"r": route("c")},
        grants={
            "g": grant(
                limits=Limits(
                    requests_per_minute=5,
                    tokens_per_minute=5,
                    budget_micro_usd=5,
                    budget_period=BudgetPeriod.MONTH,
                ),
                budgets=("b",),
                environments=("default",),
            )
        },
        budgets={"b": budget()},
        trust_rules={
            "t": trust_rule(
                claims={"sub": "a", "x": "y"},
                subject_once=True,
                models=("gpt-5",),
                environments=("default",),
            )
        },
        settings={"s": SettingsContent()},
    )


def limits(**members: Any) -> Limits:  # noqa: ANN401 - any member
    return msgspec.structs.replace(base().grants["g"].limits, **members)


WIDER: list[tuple[str, str, dict[str, Any], str]] = [
    ("credentials", "c", {"reference": "vault://a/b#c"}, "reference_changed"),
    ("credentials", "c", {"provider": "groq"}, "provider_changed"),
    ("credentials", "c", {"upstream": "https://other.example.com/v1"}, "host_changed"),
    ("credentials", "c", {"environment": "staging"}, "environment_changed"),
    (
        "credentials",
        "c",
        {"purposes": (Purpose.DEVELOPMENT, Purpose.PRODUCTION)},
        "purposes_wider",
    ),
    ("credentials", "c", {"gateway_groups": ("*",)}, "gateway_groups_wider"),
    ("credentials", "c", {"maximum_age_seconds": 10}, "age_longer"),
    ("credentials", "c", {"maximum_age_seconds": 0}, "age_longer"),
    ("credentials", "c", {"age_action": AgeAction.WARN}, "age_longer"),
    ("routes", "r", {"models": ("*",)}, "models_wider"),
    ("routes", "r", {"targets": (TargetContent(credential_id="d"),)}, "target_added"),
    (
        "routes",
        "r",
        {"targets": (TargetContent(credential_id="c", model="gpt-9"),)},
        "target_added",
    ),
    ("grants", "g", {"principals": ("user:*", "workload:*")}, "principals_wider"),
    ("grants", "g", {"models": ("gpt-*",)}, "models_wider"),
    ("grants", "g", {"purposes": (Purpose.DEVELOPMENT, Purpose.EVAL)}, "purposes_wider"),
    ("grants", "g", {"environments": ("*",)}, "environments_wider"),
    ("grants", "g", {"limits": limits(requests_per_minute=6)}, "limits_higher"),
    ("grants", "g", {"limits": limits(tokens_per_minute=None)}, "limits_higher"),
    ("grants", "g", {"limits": limits(budget_micro_usd=6)}, "limits_higher"),
    ("grants", "g", {"limits": limits(budget_period=BudgetPeriod.DAY)}, "limits_higher"),
    ("grants", "g", {"budgets": ()}, "limits_higher"),
    ("grants", "g", {"maximum_lease_seconds": 901}, "lease_longer"),
    ("grants", "g", {"content": ContentRecording.MASKED}, "content_recorded"),
    ("grants", "g", {"objects": ObjectAccess.ALL}, "objects_wider"),
    ("budgets", "b", {"micro_usd": 26_000_000}, "budget_higher"),
    ("trust_rules", "t", {"claims": {"sub": "a"}}, "subjects_wider"),
    ("trust_rules", "t", {"claims": {"sub": "b", "x": "y"}}, "subjects_wider"),
    ("trust_rules", "t", {"issuer": "https://other.example.com"}, "subjects_wider"),
    ("trust_rules", "t", {"audience": "other"}, "subjects_wider"),
    ("trust_rules", "t", {"principal": "workload:other"}, "principal_changed"),
    ("trust_rules", "t", {"purposes": (Purpose.PRODUCTION,)}, "purposes_wider"),
    ("trust_rules", "t", {"models": ("*",)}, "models_wider"),
    ("trust_rules", "t", {"environments": ("*",)}, "environments_wider"),
    ("trust_rules", "t", {"subject_once": False}, "replay_allowed"),
    ("trust_rules", "t", {"maximum_lease_seconds": 901}, "lease_longer"),
    ("settings", "s", {"serve_when_spool_full": True}, "unrecorded_calls"),
]


@pytest.mark.parametrize(("kind", "name", "members", "code"), WIDER)
def test_more_is_called_wider(kind: str, name: str, members: dict[str, Any], code: str) -> None:
    before, after = base(), base()
    things = getattr(after, kind)
    things[name] = msgspec.structs.replace(things[name], **members)
    assert codes(before, after) == {code}


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("credentials", "credential_added"),
        ("routes", "route_added"),
        ("grants", "grant_added"),
        ("trust_rules", "trust_rule_added"),
    ],
)
def test_what_is_new_is_wider_and_what_is_gone_is_not(kind: str, code: str) -> None:
    before, after = base(), base()
    getattr(before, kind).clear()
    assert code in codes(before, after)
    assert codes(after, before) == set()


NARROWER: list[tuple[str, str, dict[str, Any]]] = [
    ("credentials", "c", {"gateway_groups": ("eu-1",)}),
    ("credentials", "c", {"maximum_age_seconds": 8}),
    ("credentials", "c", {"state": CredentialState.SUSPENDED}),
    ("credentials", "c", {"owner": "user:x"}),
    ("credentials", "c", {"name": "renamed"}),
    ("routes", "r", {"models": ("gpt-5",)}),
    ("grants", "g", {"principals": ("user:ada",)}),
    ("grants", "g", {"limits": limits(requests_per_minute=4, budget_micro_usd=4)}),
    ("grants", "g", {"budgets": ("b", "b2")}),
    ("grants", "g", {"maximum_lease_seconds": 1}),
    ("budgets", "b", {"micro_usd": 1}),
    ("trust_rules", "t", {"claims": {"sub": "a", "x": "y", "z": "1"}}),
]


@pytest.mark.parametrize(("kind", "name", "members"), NARROWER)
def test_less_is_not_called_wider(kind: str, name: str, members: dict[str, Any]) -> None:
    before, after = base(), base()
    things = getattr(after, kind)
    things[name] = msgspec.structs.replace(things[name], **members)
    assert codes(before, after) == set()


def test_a_credential_that_is_active_again_is_wider() -> None:
    before, after = base(), base()
    before.credentials["c"] = msgspec.structs.replace(
        before.credentials["c"], state=CredentialState.SUSPENDED
    )
    assert codes(before, after) == {"credential_active"}


def two(first: GrantContent | None, second: GrantContent) -> PolicyContents:
    grants = {"two": second} if first is None else {"one": first, "two": second}
    return PolicyContents(grants=grants)


TIGHT = grant("a-tight", limits=Limits(requests_per_minute=1))
LOOSE = grant("b-loose", models=("gpt-*",))


@pytest.mark.parametrize(
    "after",
    [
        two(None, LOOSE),
        two(msgspec.structs.replace(TIGHT, principals=("user:bob",)), LOOSE),
        two(msgspec.structs.replace(TIGHT, position=200), LOOSE),
        two(TIGHT, msgspec.structs.replace(LOOSE, position=1)),
        two(TIGHT, msgspec.structs.replace(LOOSE, name="a-a")),
    ],
)
def test_nobody_gets_out_of_the_limits_that_came_first(after: PolicyContents) -> None:
    assert "limits_escaped" in codes(two(TIGHT, LOOSE), after)


def test_grants_that_do_not_meet_are_no_way_out() -> None:
    elsewhere = grant("b-other", models=("claude-*",))
    assert codes(two(TIGHT, elsewhere), two(None, elsewhere)) == set()
    tighter = grant("b-tighter", limits=Limits(requests_per_minute=1))
    assert codes(two(TIGHT, tighter), two(None, tighter)) == set()
