"""Webhooks: who is told when the inventory changes."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.inventory.changes import ChangeKind
from keylease.platform.inventory.webhook_records import Delivery, Message, Webhook, WebhookWish
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import Identifier, expected_version
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, describes

router: APIRouter = resource_router(prefix="/v1/inventory/webhooks", tag="inventory")
SHAPES: Final[tuple[Any, ...]] = (Webhook, Delivery, Message)
Reader = Annotated[Caller, allowed(Permission.INVENTORY_READ)]
Manager = Annotated[Caller, allowed(Permission.INVENTORY_MANAGE)]


class WebhookSaid(BaseModel):
    """Where messages go, and about which changes."""

    model_config = ConfigDict(extra="forbid")
    url: str = Field(min_length=1, max_length=500, description="https, and without a query.")
    events: list[ChangeKind] = Field(
        default_factory=list, max_length=len(ChangeKind), description="Empty is all."
    )
    enabled: bool = True

    def wish(self) -> WebhookWish:
        """For the service."""
        return WebhookWish(url=self.url, events=tuple(self.events), enabled=self.enabled)


def _list_of(shape: str) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "array", "items": {"$ref": f"#/components/schemas/{shape}"}}
    return {200: {"description": "Success", "content": {"application/json": {"schema": schema}}}}


@router.get("", response_class=Response, responses=_list_of("Webhook"))
async def list_webhooks(request: Request, caller: Reader) -> Response:
    """List webhooks, oldest first."""
    return answer(await services_of(request).inventory_webhooks.all(caller))


@router.post(
    "", status_code=201, response_class=Response, responses=describes("Webhook", status=201)
)
async def create_webhook(request: Request, caller: Manager, said: WebhookSaid) -> Response:
    """Let changes be told to an address. Messages (`Message`) are signed with `public_key`."""
    made = await services_of(request).inventory_webhooks.create(caller, said.wish())
    return answer(made, status=201, version=made.version)


@router.get("/{webhook_id}", response_class=Response, responses=describes("Webhook"))
async def read_webhook(request: Request, caller: Reader, webhook_id: Identifier) -> Response:
    """Read one webhook."""
    found = await services_of(request).inventory_webhooks.one(caller, webhook_id)
    return answer(found, version=found.version)


@router.put("/{webhook_id}", response_class=Response, responses=describes("Webhook"))
async def change_webhook(
    request: Request,
    caller: Manager,
    webhook_id: Identifier,
    said: WebhookSaid,
    expected: Annotated[int, expected_version()],
) -> Response:
    """Change a webhook; enabling it forgets its failures."""
    changed = await services_of(request).inventory_webhooks.change(
        caller, webhook_id, said.wish(), expected=expected
    )
    return answer(changed, version=changed.version)


@router.delete("/{webhook_id}", status_code=204)
async def remove_webhook(
    request: Request,
    caller: Manager,
    webhook_id: Identifier,
    expected: Annotated[int, expected_version()],
) -> None:
    """Remove a webhook, with what waits for it."""
    await services_of(request).inventory_webhooks.remove(caller, webhook_id, expected=expected)


@router.get("/{webhook_id}/deliveries", response_class=Response, responses=_list_of("Delivery"))
async def list_deliveries(request: Request, caller: Reader, webhook_id: Identifier) -> Response:
    """The last attempts to deliver, newest first."""
    return answer(await services_of(request).inventory_webhooks.deliveries(caller, webhook_id))
