"""What is shown of consumers: history, lists, previews, exports, the graph."""

from __future__ import annotations

import csv
import io
import json

import msgspec
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
    workflow,
)
from tests.support.inventory_kit import ADA, finding, fingerprint, mention, place

from keylease.contracts.findings import PlaceKind
from keylease.platform.db.paging import PageRequest
from keylease.platform.inventory.consumers import ConsumerKind
from keylease.platform.inventory.exports import ExportFormat, export
from keylease.platform.inventory.graph import graph_of
from keylease.platform.inventory.preview import SubjectKind
from keylease.platform.inventory.repository import Wanted

__all__ = ["rig"]


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
