"""The routes of one kind of thing in the draft of the policy, which are the same for each kind.

router = draft_router(
    DraftThings(ResourceKind.BUDGET, path="budgets", noun="budget", body=BudgetBody, answer=Budget)
)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.policy.resources import ResourceKind
from keylease.platform.policy.schemas import (
    PageOfRevisions,
    ResourceMeta,
    answer_of,
    content_of,
    history_answer,
)
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import policy_of

Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]
Check = Callable[[Request, Caller, Any], Awaitable[None]]
_ITEM: Final = "/{%s_id}"


async def _no_more(_request: Request, _caller: Caller, _body: object) -> None:
    """Nothing to check besides the permission."""


@dataclass(frozen=True, kw_only=True)
class DraftThings:
    """A kind of thing in the draft, as its routes call it."""

    kind: ResourceKind
    path: str
    """Below ``/v1``."""
    noun: str
    """One of them, in words."""
    body: type[BaseModel]
    answer: type[ResourceMeta]
    check: Check = _no_more
    """Raises unless the caller may write this body; asked before every write."""

    @property
    def one(self) -> str:
        """One of them, in a name."""
        return self.noun.replace(" ", "_")


def draft_router(things: DraftThings) -> APIRouter:
    """List, add, read, change, remove, and the history."""
    router = resource_router(prefix=f"/v1/{things.path}", tag=things.path)
    _add_reading(router, things)
    _add_writing(router, things)
    _add_history(router, things)
    return router


def _add_reading(router: APIRouter, things: DraftThings) -> None:
    async def listed(
        request: Request,
        caller: Reader,
        page: Annotated[PageRequest, page_request()],
        name: Annotated[str, Query(max_length=64)] = "",
    ) -> PageOf[ResourceMeta]:
        found = await policy_of(request).resources.page(caller, things.kind, page, name=name)
        return PageOf(
            items=[answer_of(item, things.answer) for item in found.items],
            next_cursor=found.next_cursor,
        )

    async def read(
        request: Request, response: Response, caller: Reader, thing_id: str
    ) -> ResourceMeta:
        found = await policy_of(request).resources.get(caller, things.kind, thing_id)
        set_version(response, found.version)
        return answer_of(found, things.answer)

    router.add_api_route(
        "",
        listed,
        response_model=PageOf[things.answer],  # type: ignore[name-defined]  # known at run time only
        name=f"list_{things.path.replace('-', '_')}",
        description=f"List {things.noun}s by name.",
    )
    router.add_api_route(
        _ITEM % things.one,
        _typed(read, things),
        response_model=things.answer,
        name=f"read_{things.one}",
        description=f"Read one {things.noun}.",
    )


def _add_writing(router: APIRouter, things: DraftThings) -> None:
    async def add(
        request: Request, response: Response, caller: Manager, body: BaseModel
    ) -> ResourceMeta:
        await things.check(request, caller, body)
        made = await policy_of(request).resources.create(caller, content_of(body))
        set_version(response, made.version)
        response.headers["Location"] = f"/v1/{things.path}/{made.id}"
        return answer_of(made, things.answer)

    async def change(
        request: Request,
        response: Response,
        caller: Manager,
        thing_id: str,
        body: BaseModel,
        expected: Annotated[int, expected_version()],
    ) -> ResourceMeta:
        await things.check(request, caller, body)
        changed = await policy_of(request).resources.update(
            caller, thing_id, content_of(body), expected=expected
        )
        set_version(response, changed.version)
        return answer_of(changed, things.answer)

    async def remove(
        request: Request,
        caller: Manager,
        thing_id: str,
        expected: Annotated[int, expected_version()],
    ) -> None:
        resources = policy_of(request).resources
        await resources.remove(caller, things.kind, thing_id, expected=expected)

    router.add_api_route(
        "",
        _typed(add, things),
        methods=["POST"],
        status_code=201,
        response_model=things.answer,
        name=f"add_{things.one}",
        description=f"Add a {things.noun} to the draft.",
    )
    router.add_api_route(
        _ITEM % things.one,
        _typed(change, things),
        methods=["PUT"],
        response_model=things.answer,
        name=f"change_{things.one}",
        description=f"Put another {things.noun} in its place, in the draft.",
    )
    router.add_api_route(
        _ITEM % things.one,
        _typed(remove, things),
        methods=["DELETE"],
        status_code=204,
        name=f"remove_{things.one}",
        description=f"Take a {things.noun} out of the draft.",
    )


def _add_history(router: APIRouter, things: DraftThings) -> None:
    async def history(
        request: Request,
        caller: Reader,
        thing_id: str,
        page: Annotated[PageRequest, page_request()],
    ) -> PageOfRevisions:
        resources = policy_of(request).resources
        return history_answer(await resources.history(caller, things.kind, thing_id, page))

    router.add_api_route(
        f"{_ITEM}/history" % things.one,
        _typed(history, things),
        name=f"read_{things.one}_history",
        description=f"List who changed a {things.noun}, when and how; the newest first.",
    )


def _typed(route: Callable[..., Any], things: DraftThings) -> Callable[..., Any]:
    """Tell FastAPI, which reads annotations, what this kind's body and identifier are."""
    told = {
        "thing_id": Annotated[Identifier, Path(alias=f"{things.one}_id")],
        "body": things.body,
    }
    for name in told.keys() & route.__annotations__.keys():
        route.__annotations__[name] = told[name]
    return route
