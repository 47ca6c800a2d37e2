from __future__ import annotations

from collections import Counter
from itertools import product

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.call_rig import (
    EVERY_PURPOSE,
    OPENAI_ORIGIN,
    ORGANIZATION,
    FakePool,
    binding,
    bundle,
    credential,
    grant,
    route,
)

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.patterns import matches, patterns_meet
from keylease.contracts.policy import (
    Budget,
    BudgetPeriod,
    Credential,
    Grant,
    Limits,
    ObjectAccess,
    PolicyBundle,
    Strategy,
    Target,
)
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    AccessDenied,
    BindingMissing,
    KeyleaseError,
    LeaseForeign,
    ModelNotAllowed,
    PurposeNotAllowed,
)
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.configuration import Binding, GatewayConfiguration, Origin
from keylease.strongroom.gateway.call.routing import CompiledPolicy
from keylease.strongroom.gateway.call.upstreams import Upstreams, read_base_url
from keylease.strongroom.gateway.interfaces import LimitKind, LimitWindow

OPENAI = WireFormat.OPENAI


def fake_pool(origin: Origin, *, allow_private: bool) -> FakePool:
    return FakePool(origin, allow_private=allow_private, calls=[])


def compiled(policy: PolicyBundle, *bindings: Binding) -> CompiledPolicy:
    upstreams = Upstreams(
        GatewayConfiguration(path="gateway.toml"), on_error=print, pool_factory=fake_pool
    )
    return CompiledPolicy(
        policy, Bindings(bindings or (binding(), binding("anthropic"))), upstreams
    )


def lease(**changes: object) -> LeaseClaims:
    plain = LeaseClaims(
        iss="local", sub="user:ada", iat=0, exp=900, jti="lease-1", organization=ORGANIZATION,
        purpose=Purpose.DEVELOPMENT, environment="local", models=("*",),
    )  # fmt: skip
    return msgspec.structs.replace(plain, **changes)


def test_a_decision_names_everything_a_call_needs() -> None:
    decision = compiled(bundle()).decide(lease(), "gpt-4o-mini", OPENAI)
    [target] = decision.targets
    assert decision.grant.id == "grant-1"
    assert (target.credential.id, target.binding.id, target.prefix) == (
        "cred-openai",
        "binding:1",
        "/v1",
    )
    assert isinstance(target.pool, FakePool)
    assert target.pool.origin == OPENAI_ORIGIN
    assert not target.pool.allow_private


@pytest.mark.parametrize(
    ("claims", "model", "policy", "error", "words"),
    [
        (lease(models=("gpt-4*",)), "gpt-3.5", bundle(), ModelNotAllowed, "lease is not good"),
        (lease(sub="workload:x"), "gpt-4", bundle(), AccessDenied, "No grant names you"),
        (lease(), "gpt-4", bundle(grants=(grant(models=("gpt-5*",)),)), ModelNotAllowed, "grant"),
        (lease(), "gpt-4", bundle(grants=(grant(purposes=(Purpose.EVAL,)),)), PurposeNotAllowed,
         "purpose"),
        (lease(), "gpt-4", bundle(grants=(grant(environments=("prod",)),)), AccessDenied,
         "environment"),
        (lease(), "o1", bundle(), ModelNotAllowed, "No route"),
        (lease(), "claude-4", bundle(), ModelNotAllowed, "another API"),
        (lease(environment="ci"), "gpt-4", bundle(), AccessDenied, "environment 'ci'"),
        (lease(purpose=Purpose.PRODUCTION), "gpt-4", bundle(), PurposeNotAllowed, "production"),
        (lease(organization="other"), "gpt-4", bundle(), LeaseForeign, "organization"),
        (lease(budget="gone"), "gpt-4", bundle(), AccessDenied, "budget"),
        (lease(), "gpt-4", bundle(credentials=()), ModelNotAllowed, "does not exist"),
        (lease(), "gpt-4", bundle(credentials=(credential(provider="acme"),)), BindingMissing,
         "not known"),
    ],
)  # fmt: skip
def test_every_refusal_says_why(
    claims: LeaseClaims, model: str, policy: PolicyBundle, error: type[KeyleaseError], words: str
) -> None:
    with pytest.raises(error, match=words):
        compiled(policy).decide(claims, model, OPENAI)


def test_a_route_without_a_usable_target_does_not_hide_the_next_one() -> None:
    policy = bundle(
        credentials=(
            credential("prod", purposes=(Purpose.PRODUCTION,)),
            credential("eval", purposes=(Purpose.EVAL,)),
        ),
        routes=(
            route("r1", targets=(Target(credential_id="prod"),)),
            route("r2", targets=(Target(credential_id="eval"),)),
        ),
    )
    for purpose, expected in ((Purpose.EVAL, "eval"), (Purpose.PRODUCTION, "prod")):
        decision = compiled(policy).decide(lease(purpose=purpose), "gpt-4", OPENAI)
        assert [target.credential.id for target in decision.targets] == [expected]


@pytest.mark.parametrize(
    "upstream",
    [
        "https://evil.example/v1",
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com:8443/v1",
        "http://api.openai.com/v1",
        "https://api.openai.com/v1/organization",
        "https://api.openai.com",
        "https://api.openai.com/v1?x=",
        "https://api.openai.com/v1#",
        "https://api.openai.com/v1/../v1",
        "https://api.openai.com/v1/%2e%2e",
        "https://user@api.openai.com/v1",
        "https://api.openai.com\\@evil.example/v1",
        "https://api.openai.com:99999/v1",
        "ftp://api.openai.com/v1",
        "//api.openai.com/v1",
        "https:///v1",
        "https://[::1/v1",
        "https://api.openai.com/v1\r\nx: y",
        "https://ap\u0456.openai.com/v1",
    ],
)
def test_a_policy_cannot_send_a_credential_elsewhere(upstream: str) -> None:
    policy = bundle(credentials=(credential(upstream=upstream),))
    with pytest.raises(BindingMissing):
        compiled(policy).decide(lease(), "gpt-4", OPENAI)


def test_another_provider_for_a_reference_is_refused() -> None:
    policy = bundle(
        credentials=(credential(provider="openai-compatible", upstream="https://llm.example/v1"),)
    )
    with pytest.raises(BindingMissing, match="provider openai-compatible"):
        compiled(policy).decide(lease(), "gpt-4", OPENAI)
    own = binding(
        provider="openai-compatible",
        origins=(Origin("https", "llm.example", 443),),
        listed=True,
    )
    [target] = compiled(policy, own).decide(lease(), "gpt-4", OPENAI).targets
    assert isinstance(target.pool, FakePool)
    assert target.pool.allow_private


def test_base_urls_are_taken_apart() -> None:
    endpoint = read_base_url("https://LLM.example:8443/api/v1/")
    assert (endpoint.origin, endpoint.prefix) == (Origin("https", "llm.example", 8443), "/api/v1")
    assert read_base_url("http://[::1]:8080").origin == Origin("http", "::1", 8080)


def test_decisions_are_remembered_for_the_very_same_claims_only() -> None:
    policy = compiled(bundle())
    claims = lease()
    first = policy.decide(claims, "gpt-4", OPENAI)
    assert policy.decide(claims, "gpt-4", OPENAI) is first
    with pytest.raises(ModelNotAllowed):
        policy.decide(lease(models=("o1",)), "gpt-4", OPENAI)  # the same jti
    with pytest.raises(ModelNotAllowed):
        policy.decide(claims, "gpt-4", WireFormat.ANTHROPIC)


def test_weighted_targets_are_drawn_by_weight_and_all_are_tried() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b"), credential("c")),
        routes=(
            route(
                strategy=Strategy.WEIGHTED,
                targets=(
                    Target(credential_id="a", weight=3),
                    Target(credential_id="b", weight=1),
                    Target(credential_id="c", weight=0),
                ),
            ),
        ),
    )
    decision = compiled(policy).decide(lease(), "gpt-4", OPENAI)
    first = Counter(
        decision.in_order(lambda point=point: point / 100)[0].credential.id  # type: ignore[misc]  # bound early
        for point in range(100)
    )
    assert first == {"a": 75, "b": 25}
    assert {target.credential.id for target in decision.in_order(lambda: 0.99)} == {"a", "b", "c"}


def test_the_limits_of_grant_budget_and_binding_all_count() -> None:
    limits = Limits(requests_per_minute=5, tokens_per_minute=100, budget_micro_usd=7)
    policy = bundle(
        grants=(
            grant(limits=limits),
            grant("team", principals=("nobody:x",), limits=Limits(budget_micro_usd=9)),
        )
    )
    capped = binding(maximum_micro_usd_per_day=11)
    decision = compiled(policy, capped).decide(lease(budget="team"), "gpt-4", OPENAI)
    found = {
        (b.key.owner, b.key.kind, b.key.window): b.capacity for b in decision.targets[0].bounds
    }
    assert found == {
        ("grant-1", LimitKind.REQUESTS, LimitWindow.MINUTE): 5,
        ("grant-1", LimitKind.TOKENS, LimitWindow.MINUTE): 100,
        ("grant-1", LimitKind.MICRO_USD, LimitWindow.DAY): 7,
        ("team", LimitKind.MICRO_USD, LimitWindow.DAY): 9,
        ("binding:1", LimitKind.MICRO_USD, LimitWindow.DAY): 11,
    }


def test_budgets_that_grants_share_count_besides_and_must_be_there() -> None:
    shared = Budget(id="shared", name="team", micro_usd=13, period=BudgetPeriod.MONTH)
    mine = grant(limits=Limits(budget_micro_usd=7), budgets=("shared",))
    decision = compiled(bundle(grants=(mine,), budgets=(shared,))).decide(lease(), "gpt-4", OPENAI)
    found = {(b.key.owner, b.key.window): b.capacity for b in decision.targets[0].bounds}
    assert found == {
        ("grant-1", LimitWindow.DAY): 7,
        ("shared", LimitWindow.MONTH): 13,
    }
    with pytest.raises(AccessDenied, match="budget"):
        compiled(bundle(grants=(mine,))).decide(lease(), "gpt-4", OPENAI)


def test_any_matching_grant_may_open_all_objects() -> None:
    policy = bundle(grants=(grant(), grant("g2", objects=ObjectAccess.ALL)))
    assert compiled(policy).decide(lease(), "gpt-4", OPENAI).objects_all
    other = bundle(grants=(grant(), grant("g2", objects=ObjectAccess.ALL, models=("o1",))))
    assert not compiled(other).decide(lease(), "gpt-4", OPENAI).objects_all


def test_without_a_model_every_route_that_could_be_used_is_open() -> None:
    policy = bundle(
        credentials=(credential("a"), credential("b"), credential("c")),
        routes=(
            route("r1", models=("gpt-4*",), targets=(Target(credential_id="a"),)),
            route("r2", models=("o1*",), targets=(Target(credential_id="b"),)),
            route("r3", models=("*-mini",), targets=(Target(credential_id="c"),)),
        ),
    )
    decision = compiled(policy).decide_without_model(lease(models=("gpt-*",)), OPENAI)
    assert [target.credential.id for target in decision.targets] == ["a", "c"]
    with pytest.raises(ModelNotAllowed):
        compiled(policy).decide_without_model(lease(models=("claude-4",)), OPENAI)
    with pytest.raises(ModelNotAllowed, match="batch"):
        compiled(policy).decide_without_model(lease(models=("gpt-*",)), OPENAI, every_model=True)
    assert compiled(policy).decide_without_model(lease(), OPENAI, every_model=True).targets


@given(st.lists(st.text(alphabet="ab*", max_size=4), min_size=3, max_size=3))
def test_patterns_that_share_a_word_always_meet(patterns: list[str]) -> None:
    words = ["".join(letters) for size in range(6) for letters in product("ab", repeat=size)]
    shared = any(all(matches(pattern, word) for pattern in patterns) for word in words)
    if shared:
        assert patterns_meet(*((pattern,) for pattern in patterns))


def test_models_that_have_names_are_listed() -> None:
    policy = bundle(
        routes=(
            route(
                "r1",
                models=("gpt-*", "fast"),
                targets=(Target(credential_id="cred-openai", model="gpt-4o"),),
            ),
            route("r2", models=("o1",), targets=(Target(credential_id="cred-anthropic"),)),
        ),
    )
    assert compiled(policy).models(lease(), OPENAI) == ("fast", "gpt-4o")
    assert compiled(policy).models(lease(models=("gpt-4o-mini", "nope")), OPENAI) == (
        "gpt-4o-mini",
    )
    assert compiled(policy).models(lease(models=("fast",)), WireFormat.ANTHROPIC) == ()


# --- P4: evals cannot touch production credentials ---------------------------------------------

PURPOSES = st.lists(st.sampled_from(EVERY_PURPOSE), min_size=1, unique=True).map(tuple)
REFERENCES = st.sampled_from(["sealed://one", "sealed://two", "vault://kv/a#k", "vault://kv/%61#k"])
CREDENTIALS = st.lists(
    st.builds(credential, st.sampled_from("abcd"), purposes=PURPOSES, reference=REFERENCES),
    min_size=1,
    max_size=4,
    unique_by=lambda made: made.id,
)


@settings(max_examples=300)
@given(CREDENTIALS, PURPOSES, st.sampled_from(EVERY_PURPOSE), st.data())
def test_an_eval_lease_never_reaches_a_secret_that_production_uses(
    credentials: list[Credential],
    granted: tuple[Purpose, ...],
    purpose: Purpose,
    data: st.DataObject,
) -> None:
    order = data.draw(st.permutations([made.id for made in credentials]))
    policy = bundle(
        credentials=tuple(credentials),
        grants=(grant(purposes=granted),),
        routes=(route(targets=tuple(Target(credential_id=name) for name in order)),),
    )
    wide = binding(reference="**")
    production = {
        made.reference.replace("%61", "a")
        for made in credentials
        if Purpose.PRODUCTION in made.purposes
    }
    try:
        decision = compiled(policy, wide).decide(lease(purpose=purpose), "gpt-4", OPENAI)
    except AccessDenied:
        return
    assert purpose in granted
    for target in decision.targets:
        assert purpose in target.credential.purposes
        if purpose is Purpose.EVAL:
            assert Purpose.PRODUCTION not in target.credential.purposes
            assert target.credential.reference.replace("%61", "a") not in production


def test_a_binding_that_leaves_evals_out_holds_against_a_relabelled_credential() -> None:
    policy = bundle(credentials=(credential(purposes=(Purpose.EVAL,)),))
    narrow = binding(purposes=(Purpose.PRODUCTION,))
    with pytest.raises(BindingMissing, match="purpose eval"):
        compiled(policy, narrow).decide(lease(purpose=Purpose.EVAL), "gpt-4", OPENAI)


def test_grants_are_taken_in_the_order_of_the_policy() -> None:
    first: Grant = grant("first", models=("o1",))
    policy = bundle(grants=(first, grant("second"), grant("third")))
    assert compiled(policy).decide(lease(), "gpt-4", OPENAI).grant.id == "second"
