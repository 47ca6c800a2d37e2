"""Who uses a secret: calls, places that hold it, and names that evidence links with it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence

import msgspec
import pytest
from tests.support.inventory_kit import (
    ADA,
    Declared,
    finding,
    fingerprint,
    mention,
    place,
    report,
)
from tests.support.manual_clock import ManualClock

from keylease.contracts.findings import Finding, Location, Mention, OwnerCandidate, PlaceKind
from keylease.platform.db.database import Database
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.consumers import Consumer, ConsumerKind, KnownBy
from keylease.platform.inventory.exports import ExportFormat, export
from keylease.platform.inventory.graph import graph_of
from keylease.platform.inventory.interfaces import CredentialUse
from keylease.platform.inventory.linking import MOST_FOR_A_NAME
from keylease.platform.inventory.preview import IncidentPreviews, Preview, Subject, SubjectKind
from keylease.platform.inventory.records import Sighting
from keylease.platform.inventory.repository import Wanted
from keylease.platform.inventory.service import InventoryService
from keylease.platform.inventory.states import UNUSED_AFTER, CredentialFacts, State

APP = "github.com/acme/app"
NAME = "OPENAI_API_KEY"
CREDENTIAL = "018f0000-0000-7000-8000-00000000cccc"


def within(path: str, *, repository: str = APP, **more: object) -> Location:
    """A place of a repository."""
    return place(path, repository=repository, repository_path=path, **more)  # type: ignore[arg-type]  # a test's own members


def env(path: str = ".env", **more: object) -> Location:
    more = {"name": NAME, "kind": PlaceKind.ENVIRONMENT_FILE} | more
    return within(path, **more)  # type: ignore[arg-type]  # a test's own members


def workflow(name: str = NAME, **more: object) -> Mention:
    more = {"kind": PlaceKind.CI_CONFIGURATION, "detail": "job nightly"} | more
    at = within(".github/workflows/evals.yml", **more)  # type: ignore[arg-type]  # as above
    return mention(name, at, reason="GitHub Actions secret")


def code(path: str = "app/llm.py", name: str = NAME, **more: object) -> Mention:
    return mention(name, within(path, **more), reason="read by a program")  # type: ignore[arg-type]  # as above


def manifest(**more: object) -> Mention:
    more = {"kind": PlaceKind.KUBERNETES_MANIFEST, "detail": "Deployment prod/api"} | more
    at = within("deploy/api.yaml", **more)  # type: ignore[arg-type]  # as above
    return mention(NAME, at, reason="secretKeyRef llm/key", refers_to="llm/key")


class Rig:
    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.declared = Declared()
        self.clock = clock
        self.inventory = InventoryService(database, credentials=self.declared, uses=self.declared)
        self.previews = IncidentPreviews(
            database, self.inventory, credentials=self.declared, uses=self.declared
        )

    async def push(
        self, *found: Finding, names: Sequence[Mention] = (), host: str = "laptop"
    ) -> int:
        """A complete scan; gives when it was made."""
        self.clock.advance(1)
        now = self.clock.now()
        await self.inventory.push(ADA, report(*found, started_at=now, mentions=names, host=host))
        return now

    async def all(self) -> tuple[Sighting, ...]:
        return await self.inventory.all(ADA, Wanted())

    async def only(self) -> Sighting:
        (seen,) = await self.all()
        return seen

    async def preview(self, kind: SubjectKind, name: str) -> Preview:
        return await self.previews.preview(ADA, Subject(kind=kind, name=name))

    async def changes(self, what: str) -> list[dict[str, str]]:
        page = await self.inventory.history(ADA, PageRequest(limit=100))
        return [line.details for line in page.items if line.what == what]


@pytest.fixture
def rig(database: Database, clock: ManualClock) -> Rig:
    return Rig(database, clock)


def told(consumers: Sequence[Consumer]) -> dict[str, str]:
    """What the consumers are, by kind; with a mark on what is not sure."""
    return {one.name: f"{one.kind}{'?' if one.ambiguous else ''}" for one in consumers}


def key(number: int = 1, *at: Location) -> Finding:
    return finding(fingerprint(number), at=at or (env(),))


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


async def used(rig: Rig, *, at: int) -> None:
    """Calls of a workload with the credential that the secret is."""
    rig.declared.credentials[CREDENTIAL] = CredentialFacts(id=CREDENTIAL, name="openai-prod")
    seen = await rig.only()
    await rig.inventory.describe(ADA, seen.id, expected=seen.version, credential_id=CREDENTIAL)
    rig.declared.used.append(
        CredentialUse(
            credential_id=CREDENTIAL,
            principal="workload:evals",
            first_used=at,
            last_used=at,
            calls=12,
        )
    )


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


async def test_the_history_says_which_consumers_came_and_went(rig: Rig) -> None:
    await rig.push(key())
    assert await rig.changes("consumer_found") == []
    await rig.push(key(), names=[code()])
    (line,) = await rig.changes("consumer_found")
    assert line["kind"] == "code"
    assert line["name"] == f"code {APP}: app/llm.py"
    await rig.push(key(), names=[code()])
    assert len(await rig.changes("consumer_found")) == 1
    await rig.push(key())
    (line,) = await rig.changes("consumer_gone")
    assert line["name"] == f"code {APP}: app/llm.py"
    (seen,) = await rig.all()
    page = await rig.inventory.history(ADA, PageRequest(limit=100), secret_id=seen.id)
    assert {"consumer_found", "consumer_gone"} <= {line.what for line in page.items}


async def test_secrets_that_become_one_keep_their_consumers_without_new_lines(rig: Rig) -> None:
    names = [code(), code("b/main.py")]
    await rig.push(key(1), names=names)
    other = finding(fingerprint(2, version=2), at=[env("b/.env")])
    await rig.push(other, host="second")
    assert [set(told(one.consumers)) for one in await rig.all()] == [{"app/llm.py"}, {"b/main.py"}]
    lines = [len(await rig.changes(what)) for what in ("consumer_found", "consumer_gone")]
    both = finding(fingerprint(1), fingerprint(2, version=2), at=[env()])
    await rig.push(both, names=names)
    assert set(told((await rig.only()).consumers)) == {"app/llm.py", "b/main.py"}
    assert [len(await rig.changes(what)) for what in ("consumer_found", "consumer_gone")] == lines


async def test_a_retired_source_takes_its_consumers_along(rig: Rig) -> None:
    await rig.push(key())
    await rig.push(names=[workflow()], host="ci")
    (one,) = (await rig.only()).consumers
    sources = {row["name"]: row["id"] for row in await rig.inventory.sources(ADA)}
    await rig.inventory.retire_source(ADA, sources[one.places[0].source])
    assert (await rig.only()).consumers == ()


async def test_secrets_are_found_by_their_consumers(rig: Rig) -> None:
    keys = [key(number, env(f"{number}/.env")) for number in range(1, 4)]
    await rig.push(*keys, names=[code(f"{number}/main.py") for number in range(1, 4)])
    (one,) = await rig.inventory.all(ADA, Wanted(consumer="2/MAIN.py"))
    assert one.places[0].location.path == "2/.env"
    assert await rig.inventory.all(ADA, Wanted(consumer="nobody")) == ()
    met: list[str] = []
    page = PageRequest(limit=2)
    while True:
        found = await rig.inventory.page(ADA, Wanted(consumer="code:"), page)
        met += [one.id for one in found.items]
        if not found.next_cursor:
            break
        page = PageRequest(limit=2, cursor=found.next_cursor)
    assert met == sorted((one.id for one in await rig.all()), reverse=True)


async def test_a_preview_names_every_consumer_and_what_is_not_sure(rig: Rig) -> None:
    await rig.push(key(1), key(2, env("b/.env")), names=[workflow(), code("b/main.py")])
    for one in await rig.all():
        preview = await rig.preview(SubjectKind.LOCATION, one.places[0].id)
        (affected,) = preview.affected
        assert told(affected.consumers) == told(one.consumers)
        # The root's value lies around the workflow, and so is not ambiguous.
        assert not any("ambiguous" in gap for gap in preview.unknown)
    (other,) = await rig.inventory.all(ADA, Wanted(text="b/.env"))
    assert set(told(other.consumers)) == {"b/main.py"}


async def test_a_preview_of_a_consumer_finds_what_it_names(rig: Rig) -> None:
    await rig.push(key(1), key(2, env(name="GROQ_API_KEY")), names=[workflow(), code()])
    seen = next(one for one in await rig.all() if one.consumers)
    one = next(one for one in seen.consumers if one.kind is ConsumerKind.CI_WORKFLOW)
    for name in (one.id, one.name):
        preview = await rig.preview(SubjectKind.PRINCIPAL, name)
        (affected,) = preview.affected
        assert affected.secret.id == seen.id
        assert affected.evidence.startswith("it names OPENAI_API_KEY")
        assert any("were not seen to be used by it" in gap for gap in preview.unknown)


async def test_a_preview_says_what_names_a_secret_and_is_linked_with_none(rig: Rig) -> None:
    far = workflow(repository="github.com/acme/far")
    other = workflow("GROQ_API_KEY", repository="github.com/acme/groq")
    kept = mention(NAME, place("vault:secret", kind=PlaceKind.SECRET_STORE))
    named = [msgspec.structs.replace(one, provider="openai") for one in (far, code(), kept)]
    await rig.push(key(), names=named)
    await rig.push(names=[msgspec.structs.replace(other, provider="groq")], host="ci")
    place_id = (await rig.only()).places[0].id
    gaps = (await rig.preview(SubjectKind.LOCATION, place_id)).unknown
    (gap,) = [gap for gap in gaps if "with no value near" in gap]
    assert gap.startswith("A secret of openai is named in 1 more place,")
    assert gap.endswith("github.com/acme/far.")


async def test_a_list_of_names_says_which_secret_each_stands_for(rig: Rig) -> None:
    far = workflow(repository="github.com/acme/far", detail="job far")
    kept = mention(NAME, env(".env.example"), reason="name without a value")
    await rig.push(key(), names=[code(), kept, msgspec.structs.replace(far, provider="openai")])
    await rig.push(key(2, env(name="API_KEY")), names=[manifest(), workflow("API_KEY")], host="b")
    by_name = {one.places[0].location.name: one.id for one in await rig.all()}
    page = await rig.inventory.mentions(ADA, PageRequest(limit=100))
    assert {
        (one.location.path, one.location.detail): [
            (secret.secret_id, secret.ambiguous) for secret in one.stands_for
        ]
        for one in page.items
        if one.removed_at is None
    } == {
        ("app/llm.py", ""): [(by_name[NAME], False)],
        (".env.example", ""): [(by_name[NAME], False)],
        ("deploy/api.yaml", "Deployment prod/api"): [(by_name[NAME], False)],
        (".github/workflows/evals.yml", "job far"): [],
        (".github/workflows/evals.yml", "job nightly"): [(by_name["API_KEY"], True)],
    }
    assert all(one.evidence for name in page.items for one in name.stands_for)


async def test_a_process_is_the_same_consumer_under_another_number(rig: Rig) -> None:
    for number in (17, 18):
        at = place(f"process {number} (evals)", kind=PlaceKind.PROCESS_ENVIRONMENT, name=NAME)
        await rig.push(key(1, at))
    (one,) = (await rig.only()).consumers
    assert (one.name, one.kind) == ("process (evals)", ConsumerKind.PROCESS)
    assert one.removed_at is None
    assert [where.removed_at is None for where in one.places] == [False, True]


async def test_exports_keep_seen_and_named_apart(rig: Rig) -> None:
    await rig.push(key(), names=[workflow()])
    await used(rig, at=rig.clock.now())
    seen, now = await rig.all(), rig.clock.now()
    (row,) = csv.DictReader(io.StringIO(export(seen, ExportFormat.CSV, now=now).body.decode()))
    named = f"CI workflow {APP}: .github/workflows/evals.yml, job nightly"
    assert (row["consumers"], row["consumers_named"]) == ("workload:evals", named)
    assert row["consumers_holding"] == ""
    (component,) = json.loads(export(seen, ExportFormat.CYCLONEDX, now=now).body)["components"]
    properties = [(one["name"], one["value"]) for one in component["properties"]]
    assert ("keylease:consumer", "workload:evals") in properties
    assert ("keylease:consumer:named", named) in properties
    (whole,) = json.loads(export(seen, ExportFormat.JSON, now=now).body)
    assert [one["known_by"] for one in whole["consumers"]] == ["seen_using", "named"]


async def test_the_graph_tells_evidence_from_use(rig: Rig) -> None:
    both = key(1, env(), env(".envrc", name="API_KEY"))
    await rig.push(both, names=[workflow(), code(name="API_KEY")])
    await used(rig, at=rig.clock.now())
    seen = await rig.all()
    graph = graph_of(seen, ())
    assert {"uses", "names", "may name", "is set up in"} <= {one.relation for one in graph.edges}
    ids = {node.id for node in graph.nodes}
    assert all(edge.source in ids and edge.target in ids for edge in graph.edges)
    assert "consumer:workload:evals" in ids
    assert msgspec.json.encode(graph)
