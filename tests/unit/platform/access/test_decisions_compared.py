"""The engine against a slow reference, over random organizations."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.slow_access import PlainGrant, PlainOrganization, may

from keylease.platform.access.decisions import Question, decide, lacking, places_with
from keylease.platform.access.permissions import Permission
from keylease.platform.access.places import Place
from keylease.platform.access.snapshot import FOREVER, HeldGrant, Snapshot, with_grants

USERS = ["user:0", "user:1"]
GROUPS = [f"group:{n}" for n in range(3)]
PROJECTS = ["", "p1", "p2"]
OBJECTS = ["", "credential/c1"]
PERMISSIONS = [Permission.CREDENTIAL_READ, Permission.CREDENTIAL_USE, Permission.TRACE_READ]
ROLES = {
    "reader": frozenset({Permission.CREDENTIAL_READ, Permission.TRACE_READ}),
    "nothing": frozenset[Permission](),
    "user": frozenset({Permission.CREDENTIAL_USE}),
}
thoroughly = settings(max_examples=300, deadline=None)  # how long one takes is not the subject
# Few of everything, so that questions and grants meet, also at the edges of their times.
TIMES = st.integers(0, 3)
PLACES = st.builds(Place, project_id=st.sampled_from(PROJECTS), object=st.sampled_from(OBJECTS))

organizations = st.builds(
    PlainOrganization,
    grants=st.lists(
        st.builds(
            PlainGrant,
            id=st.uuids().map(str),
            holder=st.sampled_from(USERS + GROUPS),
            gives=st.sampled_from(list(ROLES.values())),
            place=PLACES,
            starts_at=TIMES,
            ends_at=st.none() | TIMES,
            revoked=st.booleans(),
        ),
        min_size=1,
        max_size=8,
        unique_by=lambda grant: grant.id,
    ).map(tuple),
    memberships=st.lists(
        st.tuples(st.sampled_from(USERS + GROUPS), st.sampled_from(GROUPS)), max_size=10
    ).map(tuple),
    active=st.frozensets(st.sampled_from(USERS), min_size=1),
)


def held(grant: PlainGrant) -> HeldGrant:
    role_id = next(name for name, gives in ROLES.items() if gives == grant.gives)
    return HeldGrant(
        id=grant.id,
        holder=grant.holder,
        role_id=role_id,
        place=grant.place,
        starts_at=grant.starts_at,
        ends_at=FOREVER if grant.ends_at is None else grant.ends_at,
    )


def snapshot_of(organization: PlainOrganization) -> Snapshot:
    """Built in two steps: all of it as if not revoked, then what was revoked since."""
    before = with_grants({}, changed=map(held, organization.grants), gone={})
    gone = {grant.id: grant.holder for grant in organization.grants if grant.revoked}
    groups: dict[str, tuple[str, ...]] = {}
    for member, group in organization.memberships:
        groups[member] = (*groups.get(member, ()), group)
    return Snapshot(
        organization_id="o",
        roles=ROLES,
        grants=with_grants(before, changed=(), gone=gone),
        groups_of=groups,
        principals=organization.active,
    )


@thoroughly
@given(organizations, st.sampled_from(USERS), st.sampled_from(PERMISSIONS), PLACES, TIMES)
def test_both_decide_alike(
    organization: PlainOrganization, user: str, permission: Permission, place: Place, now: int
) -> None:
    snapshot = snapshot_of(organization)
    question = Question(principal=user, permission=permission, place=place)
    decision = decide(snapshot, question, now=now)
    assert decision.allowed is may(organization, user, permission, place, now=now)
    if decision.allowed:
        assert decision.grant is not None
        assert decision.grant.id in {grant.id for grant in organization.grants}


@thoroughly
@given(organizations, st.sampled_from(USERS), st.sampled_from(PERMISSIONS), TIMES)
def test_the_places_are_those_where_it_is_held(
    organization: PlainOrganization, user: str, permission: Permission, now: int
) -> None:
    places = places_with(snapshot_of(organization), user, permission, now=now)
    for project in PROJECTS:
        for named in OBJECTS:
            place = Place(project_id=project, object=named)
            covered = not places.isdisjoint(place.enclosing())
            assert covered is may(organization, user, permission, place, now=now)


@thoroughly
@given(
    organizations,
    st.sampled_from(USERS),
    st.sampled_from(PERMISSIONS),
    PLACES,
    TIMES,
    st.none() | st.frozensets(st.sampled_from([p.value for p in PERMISSIONS])),
    st.sampled_from(PROJECTS),
)
def test_an_api_key_never_widens(
    organization: PlainOrganization,
    user: str,
    permission: Permission,
    place: Place,
    now: int,
    key_permissions: frozenset[str] | None,
    key_project: str,
) -> None:
    snapshot = snapshot_of(organization)
    narrowed = Question(
        principal=user,
        permission=permission,
        place=place,
        key_permissions=key_permissions,
        key_project=key_project,
    )
    allowed = decide(snapshot, narrowed, now=now).allowed
    within = key_permissions is None or permission in key_permissions
    inside = not key_project or key_project == place.project_id
    assert allowed is (within and inside and may(organization, user, permission, place, now=now))


@thoroughly
@given(organizations, st.sampled_from(USERS), PLACES, TIMES, st.none() | TIMES)
def test_what_can_be_given_is_held_all_the_time(
    organization: PlainOrganization, user: str, place: Place, now: int, end: int | None
) -> None:
    until = FOREVER if end is None else end
    giver = Question(principal=user, permission=Permission.ACCESS_MANAGE, place=place)
    wanted = frozenset(p.value for p in PERMISSIONS)
    missing = lacking(snapshot_of(organization), giver, wanted, now=now, until=until)
    for permission in wanted - missing:
        for moment in range(now, max(now + 1, 6 if end is None else end)):
            assert may(organization, user, permission, place, now=moment)
