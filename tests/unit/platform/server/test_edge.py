from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import httpx
import pytest
from pydantic import BaseModel
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import client_of, services_for

from keylease.errors import PermissionDenied, TooManyAttempts
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.server.app import create_app
from keylease.platform.server.edge import MAXIMUM_BODY, Edge
from keylease.platform.server.guard import Evidence, allowed, open_to_all
from keylease.platform.server.resources import resource_router


class Note(BaseModel):
    text: str


class NobodyKnown:
    async def authenticate(self, evidence: Evidence) -> Caller:
        return platform_itself(evidence.authorization)


class NothingAllowed:
    async def require(
        self, caller: Caller, permission: Permission, *, project_id: str = "", object_id: str = ""
    ) -> None:
        raise PermissionDenied(f"{caller.organization_id} {permission} {project_id}{object_id}")


router = resource_router(prefix="/v1/notes", tag="notes")


@router.post("")
async def add(note: Note, _: Annotated[None, open_to_all()]) -> Note:
    return note


@router.get("/of/{project_id}")
async def read(
    project_id: str, caller: Annotated[Caller, allowed(Permission.PROJECT_READ)]
) -> Note:
    return Note(text=project_id + caller.name)


@router.get("/later")
async def later(_: Annotated[None, open_to_all()]) -> Note:
    raise TooManyAttempts("Later.", retry_after=7)


@router.get("/broken")
async def broken(_: Annotated[None, open_to_all()]) -> Note:
    raise RuntimeError("hunter2")


@pytest.fixture
async def client(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[httpx.AsyncClient]:
    async with services_for(database, clock, tmp_path) as joined:
        services = replace(joined, authenticator=NobodyKnown(), access=NothingAllowed())
        app = create_app(services)
        app.include_router(router)
        async with client_of(Edge(app, clock=clock, hosts=["localhost"])) as made:
            yield made


async def test_an_answer_carries_its_request_id_and_the_headers(client: httpx.AsyncClient) -> None:
    answer = await client.get("/readyz")
    assert answer.status_code == 200
    assert len(answer.headers["x-request-id"]) == 36
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


async def test_a_foreign_host_is_not_answered(client: httpx.AsyncClient) -> None:
    answer = await client.get("/healthz", headers={"host": "evil.example"})
    assert answer.status_code == 421
    assert answer.json()["code"] == "host_unknown"


async def test_a_denial_is_a_problem_with_its_reason(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/notes/of/p1", headers={"authorization": "ada"})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"] == "ada project:read p1"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_what_looks_like_a_key_is_refused_and_not_repeated(client: httpx.AsyncClient) -> None:
    secret = "sk-proj-" + "aB3" * 20
    answer = await client.post("/v1/notes", json={"text": f"use {secret}"})
    assert answer.status_code == 422
    assert answer.json()["code"] == "secret_in_request"
    assert secret not in answer.text


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, declared: bool) -> None:  # noqa: FBT001 - a parameter
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(MAXIMUM_BODY // 65536 + 2):
            yield b" " * 65536

    content = b" " * (MAXIMUM_BODY + 1) if declared else pieces()
    answer = await client.post(
        "/v1/notes", content=content, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "request_too_large"


async def test_a_wrong_body_says_where(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/notes", json={"text": 5})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["location"] == "body.text"


async def test_deep_nesting_is_refused(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/notes",
        content='{"text":' + "[" * 100_000,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code in {400, 422}


async def test_who_must_wait_is_told_how_long(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/notes/later")
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


async def test_a_defect_tells_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/notes/broken")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert answer.json()["code"] == "internal"


async def test_the_document_is_openapi_3_1(client: httpx.AsyncClient) -> None:
    document = (await client.get("/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert "Problem" in document["components"]["schemas"]


@pytest.mark.parametrize("text", [r"\u0000", r"\ud800", r"x\ud83d"])
async def test_characters_that_no_database_keeps_are_refused(
    client: httpx.AsyncClient, text: str
) -> None:
    answer = await client.post(
        "/v1/notes", content=f'{{"text":"{text}"}}', headers={"content-type": "application/json"}
    )
    assert answer.status_code == 422
    assert answer.json()["code"] == "input_invalid"


async def test_whole_pairs_are_kept(client: httpx.AsyncClient) -> None:
    answer = await client.post(
        "/v1/notes",
        content=r'{"text":"\ud83d\ude00"}',
        headers={"content-type": "application/json"},
    )
    assert answer.json() == {"text": "\U0001f600"}
