"""Who uses a secret: calls, places that hold it, and names that evidence links with it."""

from __future__ import annotations

import pytest
from tests.support.consumer_kit import (
    APP,
    NAME,
    Rig,
    code,
    env,
    key,
    manifest,
    rig,
    told,
    used,
    within,
    workflow,
)
from tests.support.inventory_kit import ADA, mention, place, report

from keylease.contracts.findings import Location, Mention, OwnerCandidate, PlaceKind
from keylease.platform.inventory.consumers import ConsumerKind, KnownBy
from keylease.platform.inventory.linking import MOST_FOR_A_NAME
from keylease.platform.inventory.states import UNUSED_AFTER, State

__all__ = ["rig"]


async def test_workflows_deployments_and_code_that_name_the_variable_are_consumers(
    rig: Rig,
) -> None:
    at = await rig.push(key(), names=[workflow(), manifest(), code()])
    seen = await rig.only()
    assert told(seen.consumers) == {
        ".github/workflows/evals.yml, job nightly": "ci_workflow",
        "deploy/api.yaml, Deployment prod/api": "deployment",
        "app/llm.py": "code",
    }
    assert {one.known_by for one in seen.consumers} == {KnownBy.NAMED}
    one = next(one for one in seen.consumers if one.kind is ConsumerKind.CI_WORKFLOW)
    assert one.evidence == (
        "names OPENAI_API_KEY, as the value is called in the same repository "
        "(GitHub Actions secret)"
    )
    assert (one.repository, one.first_seen, one.last_seen, one.removed_at) == (APP, at, at, None)
    assert [(where.path, where.line, where.name) for where in one.places] == [
        (".github/workflows/evals.yml", 3, NAME)
    ]
    assert seen.last_used is None


async def test_the_same_workflow_of_three_checkouts_is_one_consumer(rig: Rig) -> None:
    await rig.push(key(), names=[workflow()], host="a")
    await rig.push(names=[workflow()], host="b")
    await rig.push(key(), names=[workflow()], host="c")
    (one,) = (await rig.only()).consumers
    assert [where.source for where in one.places] == [f"{host}:/src/app" for host in "abc"]


async def test_names_do_not_reach_beyond_their_repository(rig: Rig) -> None:
    other = "github.com/acme/other"
    await rig.push(key(1), names=[workflow()])
    await rig.push(
        key(2, env(repository=other)),
        names=[code(repository=other, path="main.py")],
        host="ci",
    )
    first, second = sorted(await rig.all(), key=lambda one: one.first_seen)
    assert set(told(first.consumers).values()) == {"ci_workflow"}
    assert set(told(second.consumers).values()) == {"code"}


@pytest.mark.parametrize("name", [NAME, "NPM_TOKEN", "EVALS_OPENAI_KEY", "TEAM_KEY"])
async def test_a_name_that_many_have_does_not_fan_out(rig: Rig, name: str) -> None:
    await rig.push(key(1, env(name=name)))
    for number in range(3):
        far = workflow(name, repository=f"github.com/acme/{number}")
        await rig.push(names=[far], host=f"ci{number}")
    assert (await rig.only()).consumers == ()


async def test_a_name_of_its_own_reaches_every_repository(rig: Rig) -> None:
    own = "ACME_SEARCH_OPENAI_KEY"
    await rig.push(key(1, env(name=own)))
    await rig.push(names=[workflow(own, repository="github.com/acme/deploy")], host="ci")
    (one,) = (await rig.only()).consumers
    assert "a name of its own" in one.evidence
    assert not one.ambiguous
    await rig.push(key(2, env(name=own, repository="github.com/acme/third")), host="third")
    for seen in await rig.all():
        assert set(told(seen.consumers).values()) == {"ci_workflow?"}
        assert "2 secrets are called so" in seen.consumers[0].evidence


@pytest.mark.parametrize("name", ["API_KEY", "TOKEN", "SECRET_KEY"])
async def test_a_name_that_is_anybodys_is_ambiguous_even_in_one_repository(
    rig: Rig, name: str
) -> None:
    await rig.push(key(1, env(name=name)), names=[workflow(name)])
    await rig.push(names=[workflow(name, repository="github.com/acme/b")], host="b")
    (one,) = (await rig.only()).consumers
    assert one.ambiguous
    assert one.repository == APP


async def test_a_name_that_too_many_secrets_have_links_nothing(rig: Rig) -> None:
    many = [key(number, env(f"services/{number}/.env")) for number in range(1, MOST_FOR_A_NAME + 2)]
    await rig.push(*many, names=[workflow()])
    assert all(not one.consumers for one in await rig.all())
    await rig.push(*many[:-1], names=[workflow()])
    present = [one for one in await rig.all() if one.removed_at is None]
    assert {mark for one in present for mark in told(one.consumers).values()} == {"ci_workflow?"}
    assert len([one for one in present if one.consumers]) == MOST_FOR_A_NAME


async def test_of_several_values_in_a_repository_the_one_around_the_code_is_meant(
    rig: Rig,
) -> None:
    await rig.push(
        key(1, env("services/a/.env")),
        key(2, env("services/b/.env")),
        names=[code("services/a/main.py"), workflow()],
    )
    by_path = {one.places[0].location.path: told(one.consumers) for one in await rig.all()}
    of_both = {".github/workflows/evals.yml, job nightly": "ci_workflow?"}
    assert by_path == {
        "services/a/.env": {"services/a/main.py": "code"} | of_both,
        "services/b/.env": of_both,
    }


async def test_what_is_for_another_environment_is_another_secret(rig: Rig) -> None:
    await rig.push(
        key(1, env(".env.production", environment="production")),
        key(2, env(".env.development", environment="development")),
        names=[manifest(environment="production"), code()],
    )
    found = {one.places[0].location.environment: one.consumers for one in await rig.all()}
    assert set(told(found["production"]).values()) == {"deployment", "code?"}
    assert set(told(found["development"]).values()) == {"code?"}


async def test_a_reference_to_a_secret_of_kubernetes_decides_before_the_name(rig: Rig) -> None:
    kept = within(
        "deploy/secret.yaml",
        kind=PlaceKind.KUBERNETES_MANIFEST,
        detail="Secret prod/llm",
        name="key",
    )
    await rig.push(key(1), key(2, kept), names=[manifest()])
    by_path = {one.places[0].location.path: one.consumers for one in await rig.all()}
    assert by_path[".env"] == ()
    (one,) = by_path["deploy/secret.yaml"]
    assert (one.kind, one.ambiguous) == (ConsumerKind.DEPLOYMENT, False)
    assert "takes llm/key" in one.evidence


async def test_in_a_cluster_the_namespace_has_to_agree(rig: Rig) -> None:
    def at(path: str, **more: object) -> Location:
        return place(f"cluster east: {path}", kind=PlaceKind.KUBERNETES_CLUSTER, **more)

    def of(namespace: str) -> Mention:
        where = at(f"deployment {namespace}/api", detail="container api")
        return mention(NAME, where, refers_to="llm/key")

    await rig.push(key(1, at("secret prod/llm", name="key")), names=[of("prod"), of("staging")])
    assert set(told((await rig.only()).consumers)) == {
        "cluster east: deployment prod/api, container api"
    }


async def test_what_keeps_a_value_is_a_place_and_no_consumer(rig: Rig) -> None:
    kept = mention(NAME, place("github:acme/app", kind=PlaceKind.CI_SECRET), reason="kept")
    listing = report(started_at=rig.clock.now(), mentions=[kept])
    await rig.push(key())
    await rig.inventory.push_listing(ADA, listing, connector="forge", vendor="")
    seen = await rig.only()
    assert seen.consumers == ()
    (believed,) = seen.believed_places
    assert believed.place.location.path == "github:acme/app"
    assert "same repository" in believed.evidence
    assert not believed.ambiguous
    template = mention(NAME, env(".env.example"), reason="name without a value")
    past = code("old.py", in_history_only=True)
    await rig.push(key(), names=[template, past])
    assert (await rig.only()).consumers == ()


async def test_what_holds_the_value_where_something_runs_is_a_consumer(rig: Rig) -> None:
    unit = place(
        "/etc/systemd/system/evals.service",
        kind=PlaceKind.SERVICE_UNIT,
        name=NAME,
        owner_candidates=(OwnerCandidate("ada", "user of the unit"),),
    )
    pod = within("pod.yaml", kind=PlaceKind.KUBERNETES_MANIFEST, detail="Pod prod/a", name=NAME)
    secret = within("s.yaml", kind=PlaceKind.KUBERNETES_MANIFEST, detail="Secret prod/s", name=NAME)
    await rig.push(key(1, unit, pod, secret, within("README.md")))
    seen = await rig.only()
    assert told(seen.consumers) == {
        "pod.yaml, Pod prod/a": "deployment",
        "/etc/systemd/system/evals.service": "service",
    }
    assert {one.known_by for one in seen.consumers} == {KnownBy.HOLDS_VALUE}
    assert seen.consumers[1].owner_candidates == ("ada",)


async def test_who_was_seen_comes_before_who_is_named(rig: Rig) -> None:
    await rig.push(key(), names=[code()])
    await used(rig, at=rig.clock.now())
    seen = await rig.only()
    assert [(one.known_by, one.name) for one in seen.consumers] == [
        (KnownBy.SEEN_USING, "workload:evals"),
        (KnownBy.NAMED, "app/llm.py"),
    ]
    assert (seen.consumers[0].calls, seen.last_used) == (12, seen.consumers[0].last_used)


async def test_a_secret_that_is_only_named_is_unused(rig: Rig) -> None:
    await rig.push(key(), names=[workflow(), code()])
    await used(rig, at=rig.clock.now())
    rig.clock.advance(UNUSED_AFTER // 1_000_000 + 10)
    await rig.push(key(), names=[workflow(), code()])
    seen = await rig.only()
    assert State.UNUSED in seen.states
    assert len(seen.consumers) == 3


async def test_a_consumer_ends_when_the_name_goes_and_when_the_value_does(rig: Rig) -> None:
    first = await rig.push(key(), names=[code(), workflow()])
    gone = await rig.push(key(), names=[workflow()])
    by_kind = {one.kind: one for one in (await rig.only()).consumers}
    assert by_kind[ConsumerKind.CODE].removed_at == gone
    assert by_kind[ConsumerKind.CI_WORKFLOW].removed_at is None
    rotated = await rig.push(key(2), names=[workflow()])
    old, new = sorted(await rig.all(), key=lambda one: one.first_seen)
    ended = {one.kind: one for one in old.consumers}[ConsumerKind.CI_WORKFLOW]
    assert (ended.first_seen, ended.removed_at) == (first, rotated)
    assert told(new.consumers) == {".github/workflows/evals.yml, job nightly": "ci_workflow"}
    assert new.consumers[0].first_seen == rotated


async def test_a_value_of_the_history_is_meant_only_where_none_came_after_it(rig: Rig) -> None:
    await rig.push(key(1, env(in_history_only=True)), names=[workflow()])
    (one,) = (await rig.only()).consumers
    assert one.ambiguous
    assert "history only" in one.evidence
    await rig.push(key(1, env(in_history_only=True)), key(2), names=[workflow()])
    found = {one.places[0].location.in_history_only: told(one.consumers) for one in await rig.all()}
    assert found[True] == {}
    assert set(found[False].values()) == {"ci_workflow"}
