"""The inventory: every secret that was seen, where, whose, used by whom."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from keylease.contracts.findings import ScanReport
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.inventory.exports import ExportFormat, export
from keylease.platform.inventory.graph import Graph, graph_of
from keylease.platform.inventory.intake import Intaken
from keylease.platform.inventory.preview import LATEST
from keylease.platform.inventory.records import Exemption, Place, Sighting
from keylease.platform.inventory.repository import HistoryLine, Wanted
from keylease.platform.inventory.states import State
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import expected_version, page_request
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import Services, services_of
from keylease.platform.server.shapes import answer, body_of, describes, takes

router: APIRouter = resource_router(prefix="/v1/inventory", tag="inventory")
_NAME_OR_NONE: Final = r"^([a-z0-9][a-z0-9-]{0,62})?$"
MAXIMUM_REPORT: Final = 8 * 1024 * 1024
"""Bytes of one report; a scanner with more pushes in parts, because each is one transaction."""
SHAPES: Final[tuple[Any, ...]] = (
    ScanReport,
    Intaken,
    Sighting,
    Exemption,
    Graph,
    Page[Sighting],
    Page[Place],
    Page[HistoryLine],
)
Reader = Annotated[Caller, allowed(Permission.INVENTORY_READ)]
Manager = Annotated[Caller, allowed(Permission.INVENTORY_MANAGE)]
Pusher = Annotated[Caller, allowed(Permission.INVENTORY_WRITE)]
SecretId = Annotated[str, Path(pattern=r"^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$")]
Term = Annotated[str, Query(max_length=200)]
Consumer = Annotated[
    str,
    Query(
        max_length=200,
        description="Part of what a consumer is called: a principal, a workflow, a deployment, a "
        "file of code, a repository, or its kind.",
    ),
]
PageAsked = Annotated[PageRequest, page_request()]


class Described(BaseModel):
    """What a person says of a secret."""

    model_config = ConfigDict(extra="forbid")
    owner: str | None = Field(default=None, max_length=200)
    credential_id: str | None = Field(default=None, max_length=36)


class Checked(BaseModel):
    """What the provider answered when it was asked."""

    model_config = ConfigDict(extra="forbid")
    live: bool
    belongs_to: str = Field(default="", max_length=500)


class Accepted(BaseModel):
    """A state that is accepted for a time."""

    model_config = ConfigDict(extra="forbid")
    state: State
    reason: str = Field(min_length=1, max_length=2000)
    owner: str = Field(min_length=1, max_length=200)
    ends_at: int = Field(ge=0, le=LATEST, description="Microseconds UTC, within a year.")


@router.post(
    "/scans",
    status_code=201,
    response_class=Response,
    responses=describes("Intaken", status=201),
    openapi_extra=takes("ScanReport"),
)
async def push_scan(
    request: Request,
    caller: Pusher,
    connector: Annotated[
        str, Query(pattern=_NAME_OR_NONE, description="The connector that made the report.")
    ] = "",
    vendor: Annotated[
        str, Query(pattern=_NAME_OR_NONE, description="The vendor whose system was listed.")
    ] = "",
    more: Annotated[  # noqa: FBT002 - a query parameter
        bool,
        Query(
            description="Parts of the same scan follow; the last one removes. They say as "
            "`started_at` what the first one's answer gives as `seen_at`."
        ),
    ] = False,
) -> Response:
    """Take a report. What a complete one does not name any more is marked removed."""
    report = await body_of(request, ScanReport)
    inventory = services_of(request).inventory
    if connector:
        taken = await inventory.push_listing(
            caller, report, connector=connector, vendor=vendor, more=more
        )
    else:
        taken = await inventory.push(caller, report, more=more)
    return answer(taken, status=201)


@router.get("/secrets", response_class=Response, responses=describes("Page_Sighting_"))
async def list_secrets(  # noqa: PLR0913, PLR0917 - one parameter per query parameter
    request: Request,
    caller: Reader,
    page: PageAsked,
    text: Term = "",
    provider: Annotated[str, Query(max_length=64)] = "",
    owner: Term = "",
    consumer: Consumer = "",
    present: bool | None = None,  # noqa: FBT001 - a query parameter
) -> Response:
    """List secrets, newest first."""
    wanted = Wanted(text=text, provider=provider, owner=owner, consumer=consumer, present=present)
    return answer(await services_of(request).inventory.page(caller, wanted, page))


@router.get("/secrets/{secret_id}", response_class=Response, responses=describes("Sighting"))
async def read_secret(request: Request, caller: Reader, secret_id: SecretId) -> Response:
    """Read one secret with its places, consumers, owner and states."""
    seen = await services_of(request).inventory.one(caller, secret_id)
    return answer(seen, version=seen.version)


@router.patch("/secrets/{secret_id}", response_class=Response, responses=describes("Sighting"))
async def describe_secret(
    request: Request,
    caller: Manager,
    secret_id: SecretId,
    said: Described,
    expected: Annotated[int, expected_version()],
) -> Response:
    """Name the owner, or the credential that the secret is."""
    seen = await services_of(request).inventory.describe(
        caller,
        secret_id,
        expected=expected,
        owner=said.owner,
        credential_id=said.credential_id,
    )
    return answer(seen, version=seen.version)


@router.post("/secrets/{secret_id}/liveness", status_code=204)
async def report_liveness(
    request: Request, caller: Pusher, secret_id: SecretId, said: Checked
) -> None:
    """Keep what the provider answered when it was asked whether the key works."""
    await services_of(request).inventory.report_liveness(
        caller, secret_id, live=said.live, belongs_to=said.belongs_to
    )


@router.get(
    "/secrets/{secret_id}/history",
    response_class=Response,
    responses=describes("Page_HistoryLine_"),
)
async def read_history(
    request: Request, caller: Reader, secret_id: SecretId, page: PageAsked
) -> Response:
    """What changed of one secret, newest first."""
    inventory = services_of(request).inventory
    await inventory.one(caller, secret_id)
    return answer(await inventory.history(caller, page, secret_id=secret_id))


@router.post(
    "/secrets/{secret_id}/exceptions",
    status_code=201,
    response_class=Response,
    responses=describes("Exemption", status=201),
)
async def accept_state(
    request: Request, caller: Manager, secret_id: SecretId, said: Accepted
) -> Response:
    """Accept a state until a day; it then counts no more in the order of risk."""
    made = await services_of(request).inventory.accept(
        caller,
        secret_id,
        state=said.state,
        reason=said.reason,
        owner=said.owner,
        ends_at=said.ends_at,
    )
    return answer(made, status=201)


@router.delete("/secrets/{secret_id}/exceptions/{exception_id}", status_code=204)
async def withdraw_exception(
    request: Request, caller: Manager, secret_id: SecretId, exception_id: SecretId
) -> None:
    """End an exception before its day."""
    await services_of(request).inventory.withdraw(caller, secret_id, exception_id)


@router.get("/history", response_class=Response, responses=describes("Page_HistoryLine_"))
async def read_all_history(request: Request, caller: Reader, page: PageAsked) -> Response:
    """What changed in the whole inventory, newest first."""
    return answer(await services_of(request).inventory.history(caller, page))


@router.get("/mentions", response_class=Response, responses=describes("Page_Place_"))
async def list_mentions(
    request: Request,
    caller: Reader,
    page: PageAsked,
    provider: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """Places where the name of a secret stands, without its value."""
    return answer(await services_of(request).inventory.mentions(caller, page, provider=provider))


@router.get("/sources")
async def list_sources(request: Request, caller: Reader) -> list[dict[str, Any]]:
    """Where reports come from, when they last came, and how many places they know."""
    return [dict(row) for row in await services_of(request).inventory.sources(caller)]


@router.delete("/sources/{source_id}", status_code=204)
async def retire_source(request: Request, caller: Manager, source_id: SecretId) -> None:
    """Take a source out of the view; its history stays."""
    await services_of(request).inventory.retire_source(caller, source_id)


@router.get("/graph", response_class=Response, responses=describes("Graph"))
async def read_graph(
    request: Request,
    caller: Reader,
    text: Term = "",
    provider: Annotated[str, Query(max_length=64)] = "",
    consumer: Consumer = "",
) -> Response:
    """The inventory as a graph: credential - location - consumer - owner - vendor."""
    inventory = services_of(request).inventory
    seen = await inventory.all(caller, Wanted(text=text, provider=provider, consumer=consumer))
    return answer(graph_of(seen, await inventory.vendors(caller)))


@router.get("/export", response_class=Response)
async def export_inventory(
    request: Request,
    caller: Reader,
    form: Annotated[ExportFormat, Query(alias="format")] = ExportFormat.JSON,
) -> Response:
    """The whole inventory, worst first: JSON, CSV or CycloneDX."""
    services: Services = services_of(request)
    seen = await services.inventory.all(caller, Wanted())
    await services.inventory.exported(caller, form.value, len(seen))
    content = export(seen, form, now=services.clock.now())
    return Response(
        content.body,
        media_type=content.media_type,
        headers={"Content-Disposition": f'attachment; filename="inventory.{content.suffix}"'},
    )
