"""Every connector against its stand-in: pages, throttling, refusals, lies; nothing leaks."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable

import msgspec
import pytest
from tests.support.manual_clock import ManualClock
from tests.support.stand_in_server import listening

from keylease.contracts.findings import PlaceKind, ScanReport
from keylease.errors import ConnectorUnknown
from keylease.primitives.http1.simple import Request as HttpRequest
from keylease.primitives.http1.simple import Response
from keylease.simulator.systems import forges, hosts, vendors
from keylease.simulator.systems.system import Answered, Asked, Entry, System
from keylease.strongroom.connectors.interfaces import Connector
from keylease.strongroom.connectors.listing import report_of
from keylease.strongroom.connectors.registry import SYSTEMS, connector_of
from keylease.strongroom.connectors.session import Session
from keylease.strongroom.secrets import Secret

Answers = Callable[[tuple[Entry, ...], Asked], Answered]
STAND_INS: dict[str, tuple[Answers, str, str, str, tuple[Entry, ...]]] = {
    "github": (
        forges.github,
        "authorization",
        "Bearer {}",
        "acme",
        (
            Entry(name="OPENAI_API_KEY", container="acme"),
            *(Entry(name=f"ANTHROPIC_API_KEY_{n}", container="acme/app") for n in range(3)),
            Entry(name="OPENAI_API_KEY", container="acme/app", environment="production"),
            Entry(name="MISTRAL_API_KEY", container="acme/web"),
            Entry(name="X", container="acme/third"),
        ),
    ),
    "gitlab": (
        forges.gitlab,
        "private-token",
        "{}",
        "acme",
        (
            Entry(name="OPENAI_API_KEY", container="acme"),
            *(Entry(name=f"KEY_{n}", container="acme/app", environment="prod") for n in range(3)),
            Entry(name="GROQ_API_KEY", container="acme/web/site"),
        ),
    ),
    "vercel": (
        hosts.vercel,
        "authorization",
        "Bearer {}",
        "",
        tuple(Entry(name=f"KEY_{n}", container=f"p{n}", environment="preview") for n in range(5)),
    ),
    "braintrust": (
        vendors.braintrust,
        "authorization",
        "Bearer {}",
        "",
        (
            *(
                Entry(
                    name=f"OPENAI_{n}", container="ai_secret", provider="openai", preview="sk-***a1"
                )
                for n in range(103)
            ),
            Entry(name="ANTHROPIC_API_KEY", container="env_var"),
        ),
    ),
    "langsmith": (
        vendors.langsmith,
        "x-api-key",
        "{}",
        "",
        (Entry(name="OPENAI_API_KEY"), Entry(name="ANTHROPIC_API_KEY")),
    ),
    "langfuse": (
        vendors.langfuse,
        "authorization",
        "Basic {}",
        "",
        tuple(Entry(name=f"c{n}", provider="openai", preview="...x1y2") for n in range(5)),
    ),
    "litellm": (
        vendors.litellm,
        "authorization",
        "Bearer {}",
        "",
        (Entry(name="azure-main", provider="azure"),),
    ),
    "openrouter": (
        vendors.openrouter,
        "authorization",
        "Bearer {}",
        "",
        (Entry(name="mine", provider="anthropic"),),
    ),
}


class Case:
    """A connector, its stand-in, and a credential made for this test."""

    def __init__(self, system: str) -> None:
        answers, header, form, self.account, entries = STAND_INS[system]
        self.credential = f"public:{secrets.token_hex(16)}"
        shown = (
            base64.b64encode(self.credential.encode()).decode()
            if form.startswith("Basic")
            else self.credential
        )
        self.connector: Connector = connector_of(system)
        self.stand_in = System(
            answers, header=header, credential=form.format(shown), entries=entries
        )

    async def report(self, *, credential: str = "") -> ScanReport:
        async def at_once(_: float) -> None:
            return None

        async with listening(self.stand_in) as url:
            session = Session(
                system=self.connector.title,
                origin=url,
                headers=self.connector.authentication(Secret(credential or self.credential)),
                allow_private=True,
                sleep=at_once,
            )
            try:
                found = self.connector.inventory(session, self.account, values=False)
                return await report_of(
                    self.connector, self.account, found, keys=None, clock=ManualClock()
                )
            finally:
                await session.close()


@pytest.fixture(params=sorted(STAND_INS))
def case(request: pytest.FixtureRequest) -> Case:
    return Case(request.param)


async def test_every_entry_is_listed_once(case: Case) -> None:
    report = await case.report()
    assert report.complete, report.problems
    named = sorted(mention.name for mention in report.mentions)
    assert named == sorted(entry.name for entry in case.stand_in.entries)
    assert len({mention.location.id for mention in report.mentions}) == len(named)


async def test_dates_environments_and_providers_are_told(case: Case) -> None:
    report = await case.report()
    dated = {"github", "vercel", "braintrust", "langfuse", "openrouter"}
    if case.connector.system in dated:
        assert all(mention.location.created_at for mention in report.mentions)
    expected = {entry.environment for entry in case.stand_in.entries}
    assert {mention.location.environment for mention in report.mentions} == expected
    vendor = case.connector.vendor
    kinds = {mention.location.kind for mention in report.mentions}
    assert (kinds == {PlaceKind.VENDOR_SECRET}) is vendor


async def test_a_throttled_or_failing_system_is_asked_again(case: Case) -> None:
    case.stand_in.throttled, case.stand_in.failing = 2, 1
    report = await case.report()
    assert report.complete
    assert len(report.mentions) == len(case.stand_in.entries)


async def test_a_system_that_stays_away_gives_an_incomplete_report(case: Case) -> None:
    case.stand_in.failing = 1000
    report = await case.report()
    assert not report.complete
    assert [problem.code for problem in report.problems] == ["connector_unreachable"]


async def test_a_wrong_credential_is_said_and_never_shown(case: Case) -> None:
    wrong = f"public:{secrets.token_hex(16)}"
    report = await case.report(credential=wrong)
    assert [problem.code for problem in report.problems] == ["connector_denied"]
    assert wrong not in msgspec.json.encode(report).decode()


@pytest.mark.parametrize(
    "lie", [b"", b"<html>", b"null", b'"x"', b"7", b'{"objects":7}', b"[1]", b"[" * 50_000]
)
async def test_a_lie_never_reads_as_nothing_there(case: Case, lie: bytes) -> None:
    case.stand_in.lying = lie
    report = await case.report()
    assert not report.complete
    assert report.problems


async def test_what_looks_like_a_key_in_an_answer_is_masked(case: Case) -> None:
    leaked = "sk-proj-" + "aB3" * 20
    first = case.stand_in.entries[0]
    case.stand_in.entries = (
        msgspec.structs.replace(first, name=f"{leaked}\x1b[31m", preview=leaked),
    )
    report = await case.report()
    text = msgspec.json.encode(report).decode()
    assert leaked not in text
    assert "\\u001b" not in text


async def hostile_report(system: str, answer: Callable[[HttpRequest], Response]) -> ScanReport:
    """What is reported of a system that answers so, whatever it is asked."""
    case = Case(system)

    async def answered(request: HttpRequest) -> Response:
        return answer(request)

    async def at_once(_: float) -> None:
        return None

    async with listening(answered) as url:
        session = Session(
            system="x",
            origin=url,
            headers=case.connector.authentication(Secret(case.credential)),
            allow_private=True,
            sleep=at_once,
        )
        found = case.connector.inventory(session, case.account, values=False)
        report = await report_of(
            case.connector, case.account, found, keys=None, clock=ManualClock()
        )
        await session.close()
    return report


def saying(body: object, **headers: str) -> Callable[[HttpRequest], Response]:
    fields = [(name.title(), value) for name, value in headers.items()]
    return lambda _: Response(200, fields, msgspec.json.encode(body))


@pytest.mark.parametrize(
    ("system", "body"),
    [
        ("vercel", {"projects": [], "pagination": None}),
        ("vercel", {"projects": [], "pagination": [1]}),
        ("vercel", {"projects": [], "pagination": {"next": {"a": 1}}}),
        ("langfuse", {"data": [], "meta": None}),
        ("langfuse", {"data": [], "meta": {"totalPages": "7"}}),
        ("langfuse", {"data": [], "meta": [7]}),
    ],
)
async def test_an_odd_word_about_pages_is_no_defect(system: str, body: object) -> None:
    report = await hostile_report(system, saying(body))
    assert report.complete


@pytest.mark.parametrize(
    ("system", "body"),
    [
        ("vercel", {"projects": [], "pagination": {"next": 7}}),
        ("braintrust", {"objects": [{"name": "x", "id": "same"}] * 100}),
        ("braintrust", {"objects": [{"name": "x"}] * 100}),
    ],
)
async def test_pages_that_go_round_are_left(system: str, body: object) -> None:
    asked = []

    def answer(request: HttpRequest) -> Response:
        asked.append(request)
        return saying(body)(request)

    report = await hostile_report(system, answer)
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]
    assert len(asked) < 10


@pytest.mark.parametrize("system", ["github", "gitlab"])
async def test_links_that_go_round_are_left(system: str) -> None:
    asked = []

    def answer(request: HttpRequest) -> Response:
        asked.append(request)
        following = 'rel="next"'
        link = f"</round?page={len(asked) % 3}>; {following}"
        body: object = {"secrets": []} if request.path.endswith("secrets") else []
        return Response(200, [("Link", link)], msgspec.json.encode(body))

    report = await hostile_report(system, answer)
    assert not report.complete
    assert len(asked) < 20


async def test_names_that_lead_to_another_path_are_refused() -> None:
    repositories = [{"full_name": "../.."}]

    def answer(request: HttpRequest) -> Response:
        body: object = repositories if "/repos" in request.path else {"secrets": []}
        return Response(200, [], msgspec.json.encode(body))

    report = await hostile_report("github", answer)
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]


async def test_a_list_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keylease.strongroom.connectors.listing.MAXIMUM_LISTED", 50)
    report = await hostile_report("langsmith", saying([{"key": f"k{n}"} for n in range(60)]))
    assert len(report.mentions) == 50
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]


async def test_lists_of_lists_end_after_so_many_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("keylease.strongroom.connectors.session.MAXIMUM_REQUESTS", 5)
    report = await Case("github").report()
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]


@pytest.mark.parametrize("system", ["github", "gitlab"])
async def test_the_credential_goes_to_no_other_host(system: str) -> None:
    case = Case(system)

    async def elsewhere(request: HttpRequest) -> Response:
        answered = await case.stand_in(request)
        return Response(
            answered.status,
            [*answered.headers, ("Link", '<http://127.0.0.2:9/next>; rel="next"')],
            answered.body,
        )

    async with listening(elsewhere) as url:
        session = Session(
            system="x",
            origin=url,
            headers=case.connector.authentication(Secret(case.credential)),
            allow_private=True,
        )
        found = case.connector.inventory(session, case.account, values=False)
        report = await report_of(
            case.connector, case.account, found, keys=None, clock=ManualClock()
        )
        await session.close()
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]


async def test_a_redirect_is_not_followed(case: Case) -> None:
    asked: list[str] = []

    async def moved(request: HttpRequest) -> Response:
        asked.append(request.headers["host"])
        return Response(307, [("Location", f"http://{request.headers['host']}/elsewhere")], b"")

    async with listening(moved) as url:
        session = Session(
            system="x",
            origin=url,
            headers=case.connector.authentication(Secret(case.credential)),
            allow_private=True,
        )
        found = case.connector.inventory(session, case.account, values=False)
        report = await report_of(
            case.connector, case.account, found, keys=None, clock=ManualClock()
        )
        await session.close()
    assert [problem.code for problem in report.problems] == ["connector_answer_invalid"]
    assert len(asked) == 1


def test_every_connector_has_a_name_and_the_ability_to_list() -> None:
    names = [kind.system for kind in SYSTEMS]
    assert len(set(names)) == len(names)
    for kind in SYSTEMS:
        assert "inventory" in kind.abilities
        assert not kind.origin or kind.origin.startswith("https://")
    with pytest.raises(ConnectorUnknown, match="github"):
        connector_of("gihtub")
