"""The API, fuzzed from its own document: no 500, and nothing that the document does not say.

A real process on PostgreSQL, which is stricter than SQLite about what it stores. What is sent is
made from fixed seeds, so that a failure here is a failure everywhere. Every operation is called as
an Owner, with what fits its schema and with what does not, with identifiers of things that exist
and without; and by nobody.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.support.databases import postgres
from tests.support.furnished import bearer, first_tenant, founded, furnished
from tests.support.platform_process import RunningPlatform, running_platform
from tests.support.postgres import PostgresServer

from keylease.platform.db.database import Database
from keylease.primitives.clock import SystemClock

__all__ = ["postgres"]

DOCUMENT = json.loads(
    (Path(__file__).parents[3] / "docs" / "reference" / "openapi.json").read_text()
)
OPERATIONS = [
    (method.upper(), path) for path, methods in DOCUMENT["paths"].items() for method in methods
]
pytestmark = pytest.mark.no_cover  # the server is another process; here cases are made
AS_OWNER, AS_NOBODY = 4, 1
"""Requests to each operation."""
ENDLESS = {"/v1/audit/stream", "/v1/projects/{project_id}/trace-tail"}
"""Answers as long as somebody listens: called with a filter that says no earlier and ends."""


CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
FUZZED = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],  # what fails is told as it is; shrinking it would take minutes
    suppress_health_check=list(HealthCheck),
)


@schemathesis.serializer("application/msgpack")
def as_it_is(_: object, value: Any) -> bytes:  # noqa: ANN401 - whatever was made
    """What gateways push is bytes already; anything else is sent as text."""
    return value if isinstance(value, bytes) else str(getattr(value, "data", value)).encode()


@dataclass
class Target:
    """A server, and what is needed to be let in."""

    platform: RunningPlatform
    bearers: list[str]
    ids: dict[str, str]
    schema: Any

    def operation(self, method: str, path: str) -> Any:  # noqa: ANN401 - schemathesis' own type
        return self.schema[path][method]


@pytest.fixture(scope="module")
def target(postgres: PostgresServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzzed") / "platform"
    url = postgres.create_database("fuzzed")
    bearers, ids = asyncio.run(prepared(url, directory))
    with running_platform(directory, database_url=url) as platform:
        yield Target(platform, bearers, ids, schemathesis.openapi.from_dict(DOCUMENT))
        # Whatever was sent, the Owner is still let in: what was tested was more than 401.
        seen = httpx.get(f"{platform.url}/v1/users", headers={"authorization": bearers[-1]})
        assert seen.status_code == httpx.codes.OK, seen.text
    postgres.drop_database("fuzzed")


async def prepared(url: str, directory: Path) -> tuple[list[str], dict[str, str]]:
    """One of everything, and a session for each operation: some operations end theirs."""
    clock = SystemClock()
    database = Database(url, clock=clock)
    try:
        async with founded(database, clock, directory) as services:
            await services.identity.first_start.sign_in_link()
            owner = await first_tenant(services)
            ids = await furnished(services, owner)
            return [await bearer(services, owner) for _ in [*OPERATIONS, None]], ids
    finally:
        await database.close()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_an_owner_may_send_anything(target: Target, method: str, path: str) -> None:
    authorization = target.bearers[OPERATIONS.index((method, path))]
    operation = target.operation(method, path)
    anything = st.one_of(
        operation.as_strategy(generation_mode=GenerationMode.POSITIVE),
        operation.as_strategy(generation_mode=GenerationMode.NEGATIVE),
    )

    @settings(FUZZED, max_examples=AS_OWNER)
    @given(case=anything, existing=st.booleans(), version=st.integers(0, 2**63))
    def sent(case: Any, existing: bool, version: int) -> None:  # noqa: ANN401, FBT001 - made by hypothesis
        case.headers["Authorization"] = authorization
        if existing:
            known = {name: target.ids[name] for name in case.path_parameters if name in target.ids}
            case.path_parameters.update(known)
            case.headers["If-Match"] = f'"{1 if version % 2 else version}"'
        send(target, case)

    sent()


@pytest.mark.parametrize(("method", "path"), OPERATIONS)
def test_nobody_may_send_anything(target: Target, method: str, path: str) -> None:
    operation = target.operation(method, path)

    @settings(FUZZED, max_examples=AS_NOBODY)
    @given(case=operation.as_strategy(generation_mode=GenerationMode.POSITIVE))
    def sent(case: Any) -> None:  # noqa: ANN401 - made by hypothesis
        send(target, case)

    sent()


def send(target: Target, case: Any) -> None:  # noqa: ANN401 - schemathesis' own type
    if case.path in ENDLESS:
        parts = case.as_transport_kwargs(base_url=target.platform.url)
        shown = {name: parts.get(name) for name in ("headers", "params")}
        with httpx.stream(case.method, parts["url"], **shown) as answer:
            documented = DOCUMENT["paths"][case.path][case.method.lower()]["responses"]
            assert str(answer.status_code) in documented
        return
    answer = case.call(base_url=target.platform.url, timeout=30)
    case.validate_response(answer, checks=CHECKS)
