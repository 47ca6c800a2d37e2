"""What a compiled bundle allows is what the resources say, and never an eval to production."""

from __future__ import annotations

from itertools import product

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.call_rig import CallRig, binding
from tests.support.policy_kit import ORGANIZATION, budget, credential, grant, route, trust_rule

from keylease.contracts.bundles import UNDERSTOOD
from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.patterns import matches
from keylease.contracts.policy import Limits, PolicyBundle, Revocation, RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import AccessDenied
from keylease.platform.policy.compiler import PolicyCompiler
from keylease.platform.policy.evaluation import AskedCall, PolicyEvaluator
from keylease.platform.policy.interfaces import SeenVersion
from keylease.platform.policy.resources import (
    AgeAction,
    CredentialContent,
    CredentialState,
    GrantContent,
    PolicyContents,
    RouteContent,
    SettingsContent,
    TargetContent,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.primitives.identifiers import derived_id

PRINCIPALS = ("user:ada", "user:bob", "workload:jobs")
MODELS = ("gpt-5", "gpt-5-mini", "o9")
ENVIRONMENTS = ("dev", "prod")
GROUPS = ("eu", "us")
SECRETS = ("vault://secret/a#k", "vault://secret/b#k", "vault://secret/%61#k")
DAY = 24 * 3600 * MICROSECONDS

purposes = st.lists(st.sampled_from(Purpose), min_size=1, max_size=3, unique=True).map(tuple)


def some(*choices: str) -> st.SearchStrategy[tuple[str, ...]]:
    return st.lists(st.sampled_from(choices), min_size=1, max_size=2, unique=True).map(tuple)


@st.composite
def states(draw: st.DrawFn) -> PolicyContents:
    def names(kind: str, most: int) -> list[str]:
        return [
            derived_id(ORGANIZATION, kind, str(number))
            for number in range(draw(st.integers(1, most)))
        ]

    credentials = {
        name: credential(
            f"credential-{number}",
            reference=draw(st.sampled_from(SECRETS)),
            purposes=draw(purposes),
            environment=draw(st.sampled_from(ENVIRONMENTS)),
            gateway_groups=draw(some("*", *GROUPS)),
            state=draw(st.sampled_from(CredentialState)),
        )
        for number, name in enumerate(names("credential", 4))
    }
    targets = st.builds(TargetContent, credential_id=st.sampled_from(list(credentials)))
    return PolicyContents(
        credentials=credentials,
        routes={
            name: RouteContent(
                name=f"route-{draw(st.integers(0, 9))}-{number}",
                models=draw(some("*", "gpt-*", *MODELS)),
                targets=tuple(draw(st.lists(targets, min_size=1, max_size=3))),
                position=draw(st.integers(1, 3)),
            )
            for number, name in enumerate(names("route", 3))
        },
        grants={
            name: grant(
                f"grant-{draw(st.integers(0, 9))}-{number}",
                principals=draw(some("*", "user:*", *PRINCIPALS)),
                models=draw(some("*", "gpt-*", *MODELS)),
                purposes=draw(purposes),
                environments=draw(some("*", *ENVIRONMENTS)),
                position=draw(st.integers(1, 3)),
            )
            for number, name in enumerate(names("grant", 3))
        },
    )


def slow_reading(state: PolicyContents, group: str, call: AskedCall) -> tuple[str, set[str]]:
    """The grant and the credentials, read from the resources one by one; empty when refused."""

    def in_order(things: dict[str, RouteContent] | dict[str, GrantContent]) -> list[str]:
        return sorted(things, key=lambda name: (things[name].position, things[name].name))

    def allows(granted: GrantContent) -> bool:
        return (
            any(matches(pattern, call.principal) for pattern in granted.principals)
            and any(matches(pattern, call.model) for pattern in granted.models)
            and any(matches(pattern, call.environment) for pattern in granted.environments)
            and call.purpose in granted.purposes
        )

    def usable(held: CredentialContent) -> bool:
        place = Reference.parse(held.reference)
        produces = any(
            Purpose.PRODUCTION in other.purposes and Reference.parse(other.reference) == place
            for other in state.credentials.values()
            if is_there(other)
        )
        return (
            is_there(held)
            and call.purpose in held.purposes
            and held.environment == call.environment
            and not (call.purpose is Purpose.EVAL and produces)
        )

    def is_there(held: CredentialContent) -> bool:
        here = any(matches(pattern, group) for pattern in held.gateway_groups)
        return here and held.state is CredentialState.ACTIVE

    granting = [name for name in in_order(state.grants) if allows(state.grants[name])]
    if not granting:
        return "", set()
    for name in in_order(state.routes):
        way = state.routes[name]
        if any(matches(pattern, call.model) for pattern in way.models):
            found = {
                target.credential_id
                for target in way.targets
                if usable(state.credentials[target.credential_id])
            }
            if found:
                return granting[0], found
    return "", set()


def claims_of(call: AskedCall) -> LeaseClaims:
    return LeaseClaims(
        iss="local",
        sub=call.principal,
        iat=0,
        exp=900,
        jti=f"{call.principal}{call.purpose}{call.environment}",
        organization=ORGANIZATION,
        purpose=call.purpose,
        environment=call.environment,
        models=("*",),
    )


def at_gateway(compiled: PolicyBundle) -> CallRig:
    return CallRig(compiled, bindings=(binding(reference="**"),))


CALLS = [
    AskedCall(
        principal=principal,
        model=model,
        purpose=purpose,
        environment=environment,
        wire_format=WireFormat.OPENAI,
    )
    for principal, model, purpose, environment in product(PRINCIPALS, MODELS, Purpose, ENVIRONMENTS)
]


@settings(max_examples=60, deadline=None)
@given(state=states(), group=st.sampled_from(GROUPS))
def test_gateway_platform_and_resources_agree(state: PolicyContents, group: str) -> None:
    compiled = PolicyCompiler(ORGANIZATION).compile(state, group=group)
    evaluator = PolicyEvaluator(compiled)
    policy = at_gateway(compiled).path._policy.current
    assert policy is not None
    for call in CALLS:
        granted, expected = slow_reading(state, group, call)
        verdict = evaluator.decide(call)
        assert (verdict.grant_id, set(verdict.credential_ids)) == (granted, expected)
        assert (verdict.refusal is None) == bool(expected)
        try:
            decision = policy.decide(claims_of(call), call.model, WireFormat.OPENAI)
        except AccessDenied:
            assert not expected
        else:
            assert decision.grant.id == granted
            assert {target.credential.id for target in decision.targets} == expected


@settings(max_examples=100, deadline=None)
@given(state=states(), group=st.sampled_from(GROUPS))
def test_an_eval_never_reaches_production(state: PolicyContents, group: str) -> None:
    compiled = PolicyCompiler(ORGANIZATION).compile(state, group=group)
    evaluator = PolicyEvaluator(compiled)
    by_name = {held.id: held for held in compiled.credentials}
    production = {
        held.reference for held in compiled.credentials if Purpose.PRODUCTION in held.purposes
    }
    for call in CALLS:
        if call.purpose is Purpose.EVAL:
            for name in evaluator.decide(call).credential_ids:
                assert by_name[name].reference not in production


def a_state() -> PolicyContents:
    names = {kind: derived_id(ORGANIZATION, kind, "x") for kind in ("c", "r", "g", "b", "t", "s")}
    return PolicyContents(
        credentials={names["c"]: credential()},
        routes={names["r"]: route(names["c"])},
        grants={names["g"]: grant(budgets=(names["b"],), limits=Limits(requests_per_minute=3))},
        budgets={names["b"]: budget()},
        trust_rules={names["t"]: trust_rule(claims={"z": "1", "a": "2"})},
        settings={names["s"]: SettingsContent(serve_when_spool_full=True)},
    )


def test_the_same_state_gives_the_same_bytes() -> None:
    state = a_state()
    turned = msgspec.structs.replace(
        state,
        trust_rules={
            name: trust_rule(claims={"a": "2", "z": "1"}) for name in reversed(state.trust_rules)
        },
    )
    compiler = PolicyCompiler(ORGANIZATION)
    assert msgspec.json.encode(compiler.compile(state)) == msgspec.json.encode(
        compiler.compile(turned)
    )


def test_everything_of_a_state_is_in_the_bundle() -> None:
    compiled = PolicyCompiler(ORGANIZATION).compile(a_state(), group="eu")
    assert [held.name for held in compiled.credentials] == ["openai"]
    assert compiled.routes[0].targets[0].credential_id == compiled.credentials[0].id
    assert compiled.grants[0].limits.requests_per_minute == 3
    assert compiled.grants[0].budgets == (compiled.budgets[0].id,)
    assert compiled.budgets[0].micro_usd == 25_000_000
    assert compiled.trust_rules[0].principal == "workload:jobs"
    assert compiled.serve_when_spool_full
    assert compiled.critical == ("grant.budgets",)
    assert set(compiled.critical) <= UNDERSTOOD


def test_every_known_version_carries_the_moment_it_is_too_old() -> None:
    state = a_state()
    (name,) = state.credentials
    state.credentials[name] = credential(maximum_age_seconds=3600, age_action=AgeAction.REFUSE)
    seen = {
        name: [
            SeenVersion(fingerprint="new", first_seen=2 * DAY, last_seen=3 * DAY),
            SeenVersion(fingerprint="old", first_seen=1 * DAY, last_seen=2 * DAY),
        ]
    }
    compiled = PolicyCompiler(ORGANIZATION).compile(state, seen=seen)
    assert [(aged.version, aged.refuse_from) for aged in compiled.credentials[0].aged] == [
        ("old", DAY + 3600 * MICROSECONDS),
        ("new", 2 * DAY + 3600 * MICROSECONDS),
    ]
    assert "credential.aged" in compiled.critical
    state.credentials[name] = credential(maximum_age_seconds=3600, age_action=AgeAction.WARN)
    warned = PolicyCompiler(ORGANIZATION).compile(state, seen=seen)
    assert warned.credentials[0].aged == ()


def test_revocations_are_carried_until_every_lease_they_name_is_dead() -> None:
    revocations = [
        Revocation(kind=RevocationKind.CREDENTIAL, value="c", at=0),
        Revocation(kind=RevocationKind.PRINCIPAL, value="user:old", at=0),
        Revocation(kind=RevocationKind.ALL, at=2 * DAY),
    ]
    compiled = PolicyCompiler(ORGANIZATION).compile(
        PolicyContents(), revocations=revocations, now=2 * DAY
    )
    assert [revocation.kind for revocation in compiled.revocations] == [
        RevocationKind.ALL,
        RevocationKind.CREDENTIAL,
    ]


def test_a_grant_whose_budget_is_gone_is_not_served_without_it() -> None:
    state = a_state()
    state.budgets.clear()
    assert PolicyCompiler(ORGANIZATION).compile(state).grants == ()
