from __future__ import annotations

import pytest

from keylease.platform.access.decisions import (
    Question,
    Reason,
    can_give,
    decide,
    lacking,
    places_with,
)
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.reasons import advice_for, sentence_for
from keylease.platform.access.roles import BUILT_IN
from keylease.platform.access.snapshot import FOREVER, HeldGrant, Snapshot, with_grants

ADA, TEAM, COMPANY = "user:ada", "group:team", "group:company"
NOW = 1000
READ, MANAGE = Permission.CREDENTIAL_READ, Permission.CREDENTIAL_MANAGE
P1, P2, KEY = "p1", "p2", "credential/c1"


def snapshot(*grants: HeldGrant, groups: dict[str, tuple[str, ...]] | None = None) -> Snapshot:
    return Snapshot(
        organization_id="o",
        roles={role.id: role.permissions for role in BUILT_IN.values()},
        grants=with_grants({}, changed=grants, gone={}),
        groups_of=groups or {},
        projects=frozenset({P1, P2}),
        principals=frozenset({ADA}),
    )


def grant(holder: str = ADA, *, place: Place | None = None, **more: object) -> HeldGrant:
    values = {"id": "g1", "role_id": "viewer", "place": place or Place(), **more}
    return HeldGrant(holder=holder, **values)  # type: ignore[arg-type]  # of a test's own choice


def ask(place: Place | None = None, permission: Permission = READ, **more: object) -> Question:
    values = {"principal": ADA, "place": place or Place(), **more}
    return Question(permission=permission, **values)  # type: ignore[arg-type]  # as above


@pytest.mark.parametrize(
    ("granted", "asked", "reason"),
    [
        (Place(), Place(), Reason.GRANTED),
        (Place(), Place(project_id=P1, object=KEY), Reason.GRANTED),
        (Place(project_id=P1), Place(project_id=P1), Reason.GRANTED),
        (Place(project_id=P1), Place(project_id=P1, object=KEY), Reason.GRANTED),
        (Place(object=KEY), Place(project_id=P2, object=KEY), Reason.GRANTED),
        (Place(project_id=P1, object=KEY), Place(project_id=P1, object=KEY), Reason.GRANTED),
        (Place(project_id=P1), Place(), Reason.ELSEWHERE),
        (Place(project_id=P1), Place(project_id=P2), Reason.ELSEWHERE),
        (Place(project_id=P1), Place(object=KEY), Reason.ELSEWHERE),
        (Place(object=KEY), Place(), Reason.ELSEWHERE),
        (Place(project_id=P1, object=KEY), Place(project_id=P2, object=KEY), Reason.ELSEWHERE),
        (Place(project_id=P1, object=KEY), Place(object=KEY), Reason.ELSEWHERE),
    ],
)
def test_a_grant_reaches_what_lies_in_its_place(
    granted: Place, asked: Place, reason: Reason
) -> None:
    assert decide(snapshot(grant(place=granted)), ask(asked), now=NOW).reason is reason


@pytest.mark.parametrize(
    ("starts", "ends", "reason"),
    [
        (NOW, NOW + 1, Reason.GRANTED),
        (NOW + 1, FOREVER, Reason.NOT_STARTED),
        (0, NOW, Reason.ENDED),
    ],
)
def test_a_grant_holds_from_its_start_until_before_its_end(
    starts: int, ends: int, reason: Reason
) -> None:
    state = snapshot(grant(starts_at=starts, ends_at=ends))
    assert decide(state, ask(), now=NOW).reason is reason


def test_groups_in_groups_pass_on_what_they_hold() -> None:
    state = snapshot(grant(COMPANY), groups={ADA: (TEAM,), TEAM: (COMPANY,)})
    decision = decide(state, ask(), now=NOW)
    assert decision.allowed
    assert decision.via == (TEAM, COMPANY)
    assert "group:team and group:company" in sentence_for(decision)


def test_a_cycle_that_should_not_be_there_ends() -> None:
    state = snapshot(groups={ADA: (TEAM,), TEAM: (COMPANY,), COMPANY: (TEAM,)})
    assert decide(state, ask(), now=NOW).reason is Reason.NOT_GRANTED


def test_no_permission_implies_another() -> None:
    state = snapshot(grant(role_id="", permission=MANAGE.value))
    assert decide(state, ask(permission=MANAGE), now=NOW).allowed
    assert not decide(state, ask(permission=READ), now=NOW).allowed
    assert not decide(state, ask(permission=Permission.CREDENTIAL_USE), now=NOW).allowed


def test_an_api_key_only_takes_away() -> None:
    state = snapshot(grant())
    for question, reason in (
        (ask(key_permissions=frozenset({READ.value})), Reason.GRANTED),
        (ask(key_permissions=frozenset({MANAGE.value})), Reason.OUTSIDE_API_KEY),
        (ask(key_project=P1), Reason.OUTSIDE_PROJECT),
        (ask(Place(project_id=P2), key_project=P1), Reason.OUTSIDE_PROJECT),
        (ask(Place(project_id=P1), key_project=P1), Reason.GRANTED),
    ):
        assert decide(state, question, now=NOW).reason is reason
    both = ask(permission=MANAGE, key_permissions=frozenset({MANAGE.value}))
    assert decide(state, both, now=NOW).reason is Reason.NOT_GRANTED  # the key names it, Ada lacks


def test_who_does_not_act_holds_nothing() -> None:
    assert decide(snapshot(grant()), ask(principal="user:eve"), now=NOW).reason is Reason.NOT_ACTIVE
    assert decide(snapshot(grant()), ask(principal=""), now=NOW).reason is Reason.NOT_ACTIVE
    assert not places_with(snapshot(grant("user:eve")), "user:eve", READ, now=NOW)


def test_a_role_that_is_gone_gives_nothing() -> None:
    assert not decide(snapshot(grant(role_id="gone")), ask(), now=NOW).allowed


def test_nobody_gives_for_longer_than_they_hold() -> None:
    state = snapshot(grant(ends_at=NOW + 100))
    assert can_give(state, ask(), now=NOW, until=NOW + 100).allowed
    refused = can_give(state, ask(), now=NOW, until=NOW + 101)
    assert refused.reason is Reason.ENDS_EARLIER
    assert "before what it gives" in sentence_for(refused)
    assert can_give(state, ask(permission=MANAGE), now=NOW).reason is Reason.NOT_GRANTED


def test_a_second_grant_that_lasts_longer_counts() -> None:
    state = snapshot(grant(id="short", ends_at=NOW + 1), grant(TEAM), groups={ADA: (TEAM,)})
    assert can_give(state, ask(), now=NOW).grant == grant(TEAM)


@pytest.mark.parametrize("permission", Permission)
def test_lacking_says_what_can_give_refuses(permission: Permission) -> None:
    state = snapshot(grant(ends_at=NOW + 50), grant(id="g2", place=Place(project_id=P1)))
    for place in (Place(), Place(project_id=P1)):
        for narrowed in (None, frozenset({READ.value})):
            question = ask(place, permission, key_permissions=narrowed)
            missing = lacking(
                state, question, frozenset({permission.value}), now=NOW, until=NOW + 90
            )
            allowed = can_give(state, question, now=NOW, until=NOW + 90).allowed
            assert (not missing) is allowed


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_a_sentence_and_advice(reason: Reason) -> None:
    state = snapshot(grant(ends_at=2 * NOW))
    decision = decide(state, ask(), now=NOW)
    named = type(decision)(question=decision.question, reason=reason, grant=decision.grant)
    assert sentence_for(named).endswith(".")
    assert advice_for(named, state).endswith(".")
