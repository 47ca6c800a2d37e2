"""P4: a lease for the purpose eval never resolves a credential of the purpose production.

Random policies, also ones that the policy checker would refuse: a gateway does not trust whoever
wrote its policy.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.call_rig import ORGANIZATION, CallRig, binding, bundle, credential, grant

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.policy import Credential, Grant, PolicyBundle, Route, Strategy, Target
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import AccessDenied, PolicyFileInvalid, PurposeNotAllowed
from keylease.strongroom.config_files.policy_file import load_policy

REFERENCES = ("sealed://a", "sealed://b", "sealed://c")
MODELS = ("gpt-4o", "gpt-4o-mini", "o3")
PATTERNS = ("*", "gpt-*", *MODELS)
ENVIRONMENTS = ("dev", "prod")

purposes = st.lists(st.sampled_from(Purpose), min_size=1, max_size=3, unique=True).map(tuple)


@st.composite
def policies(draw: st.DrawFn) -> PolicyBundle:
    credentials = tuple(
        Credential(
            id=f"credential-{number}",
            name=f"credential-{number}",
            provider="openai",
            reference=draw(st.sampled_from(REFERENCES)),
            purposes=draw(purposes),
            environment=draw(st.sampled_from(ENVIRONMENTS)),
        )
        for number in range(draw(st.integers(1, 4)))
    )
    targets = st.builds(
        Target,
        credential_id=st.sampled_from([known.id for known in credentials]),
        model=st.sampled_from(("", *MODELS)),
        weight=st.integers(0, 3),
    )
    routes = tuple(
        Route(
            id=f"route-{number}",
            name=f"route-{number}",
            models=draw(st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=2).map(tuple)),
            targets=tuple(draw(st.lists(targets, min_size=1, max_size=3))),
            strategy=draw(st.sampled_from(Strategy)),
        )
        for number in range(draw(st.integers(1, 3)))
    )
    grants = tuple(
        Grant(
            id=f"grant-{number}",
            name=f"grant-{number}",
            principals=("user:*",),
            models=("*",),
            purposes=draw(purposes),
            environments=("*",),
        )
        for number in range(draw(st.integers(1, 2)))
    )
    return bundle(credentials=credentials, routes=routes, grants=grants)


def eval_claims(environment: str) -> LeaseClaims:
    return LeaseClaims(
        iss="local",
        sub="user:ada",
        iat=0,
        exp=900,
        jti="lease",
        organization=ORGANIZATION,
        purpose=Purpose.EVAL,
        environment=environment,
        models=("*",),
    )


def serves_production(policy: PolicyBundle, used: Credential) -> bool:
    """The slow reference: does any credential with the same secret serve production?"""
    place = str(Reference.parse(used.reference))
    return any(
        Purpose.PRODUCTION in known.purposes
        for known in policy.credentials
        if str(Reference.parse(known.reference)) == place
    )


@settings(max_examples=400, deadline=None)
@given(
    policy=policies(),
    model=st.sampled_from(MODELS),
    environment=st.sampled_from(ENVIRONMENTS),
    named=st.booleans(),
)
def test_no_policy_leads_an_eval_lease_to_production(
    policy: PolicyBundle, model: str, environment: str, *, named: bool
) -> None:
    rig = CallRig(policy, bindings=(binding(reference="**"),))
    compiled = rig.path._policy.current
    assert compiled is not None
    claims = eval_claims(environment)
    try:
        if named:
            decision = compiled.decide(claims, model, WireFormat.OPENAI)
        else:
            decision = compiled.decide_without_model(claims, WireFormat.OPENAI)
    except AccessDenied:
        return
    for target in decision.targets:
        assert not serves_production(policy, target.credential)
        assert Purpose.EVAL in target.credential.purposes


def test_the_property_is_not_empty() -> None:
    """An eval lease does reach an eval credential: the test above has something to refuse."""
    rig = CallRig(bundle(credentials=(credential(purposes=(Purpose.EVAL,)),)))
    compiled = rig.path._policy.current
    assert compiled is not None
    assert compiled.decide(eval_claims("local"), "gpt-4o", WireFormat.OPENAI).targets


@pytest.mark.parametrize("purposes_of_both", [(Purpose.EVAL, Purpose.PRODUCTION)])
def test_a_credential_for_both_serves_no_eval(purposes_of_both: tuple[Purpose, ...]) -> None:
    rig = CallRig(bundle(credentials=(credential(purposes=purposes_of_both),)))
    compiled = rig.path._policy.current
    assert compiled is not None
    with pytest.raises(PurposeNotAllowed):
        compiled.decide(eval_claims("local"), "gpt-4o", WireFormat.OPENAI)


def test_a_call_with_an_eval_lease_sends_nothing_upstream() -> None:
    rig = CallRig(
        bundle(credentials=(credential(purposes=(Purpose.PRODUCTION,)),), grants=(grant(),))
    )
    lease = rig.make_lease(purpose=Purpose.EVAL)
    call = rig.send("POST", "/v1/chat/completions", {"model": "gpt-4o"}, lease=lease)
    assert call.status == 403
    assert call.code == "purpose_not_allowed"
    assert rig.calls == []


def test_a_binding_for_production_only_refuses_an_eval_label() -> None:
    """Whoever relabels a credential in the policy does not change what gateway.toml says."""
    relabelled = credential(purposes=(Purpose.EVAL,))
    rig = CallRig(
        bundle(credentials=(relabelled,)), bindings=(binding(purposes=(Purpose.PRODUCTION,)),)
    )
    lease = rig.make_lease(purpose=Purpose.EVAL)
    call = rig.send("POST", "/v1/chat/completions", {"model": "gpt-4o"}, lease=lease)
    assert (call.status, call.code) == (403, "binding_missing")
    assert rig.calls == []


def test_the_policy_file_refuses_a_credential_for_both(tmp_path: Path) -> None:
    policy = tmp_path / "keylease.toml"
    policy.write_text(
        "version = 1\n[[credential]]\n"
        'name = "both"\nprovider = "openai"\nreference = "sealed://both"\n'
        'purposes = ["eval", "production"]\nenvironment = "prod"\n'
    )
    with pytest.raises(PolicyFileInvalid) as caught:
        load_policy(policy, organization_id=ORGANIZATION, version=1, now=0)
    assert "production" in str(caught.value)


def test_the_cache_of_decisions_does_not_cross_purposes() -> None:
    """The same lease id with another purpose is another lease."""
    rig = CallRig(bundle(credentials=(credential(purposes=(Purpose.PRODUCTION,)),)))
    compiled = rig.path._policy.current
    assert compiled is not None
    claims = msgspec.structs.replace(eval_claims("local"), purpose=Purpose.PRODUCTION)
    assert compiled.decide(claims, "gpt-4o", WireFormat.OPENAI).targets
    with pytest.raises(PurposeNotAllowed):
        compiled.decide(eval_claims("local"), "gpt-4o", WireFormat.OPENAI)
