"""Vendors: outside tools, and what they were given."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.inventory.preview import LATEST
from keylease.platform.inventory.records import Vendor
from keylease.platform.inventory.service import VendorWish
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import expected_version
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of
from keylease.platform.server.shapes import answer, describes

router: APIRouter = resource_router(prefix="/v1/vendors", tag="inventory")
SHAPES: Final[tuple[Any, ...]] = (Vendor, tuple[Vendor, ...])
_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
Reader = Annotated[Caller, allowed(Permission.INVENTORY_READ)]
Manager = Annotated[Caller, allowed(Permission.INVENTORY_MANAGE)]
Name = Annotated[str, Path(pattern=_NAME)]
_LIST: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Success",
        "content": {
            "application/json": {
                "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Vendor"}}
            }
        },
    }
}


class VendorSaid(BaseModel):
    """What is said of a vendor; who says it attests it."""

    model_config = ConfigDict(extra="forbid")
    title: str = Field(default="", max_length=200)
    connector: str = Field(default="", max_length=64, description="The connector that reads it.")
    given: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
        default_factory=list,
        max_length=32,
        description="What it was given: keys, prompts, logs ...",
    )
    since: int | None = Field(default=None, ge=0, le=LATEST, description="Microseconds UTC.")
    note: str = Field(default="", max_length=2000)

    def wish(self, name: str) -> VendorWish:
        """For the service."""
        return VendorWish(
            name=name,
            title=self.title,
            connector=self.connector,
            given=tuple(self.given),
            since=self.since,
            note=self.note,
        )


class VendorChanged(VendorSaid):
    """What is said of a vendor anew."""

    archived: bool = Field(default=False, description="It is used no more; its history stays.")


class VendorNamed(VendorSaid):
    """A new vendor."""

    name: str = Field(pattern=_NAME)


@router.get("", response_class=Response, responses=_LIST)
async def list_vendors(request: Request, caller: Reader) -> Response:
    """List vendors by name."""
    return answer(await services_of(request).inventory.vendors(caller))


@router.post(
    "", status_code=201, response_class=Response, responses=describes("Vendor", status=201)
)
async def create_vendor(request: Request, caller: Manager, said: VendorNamed) -> Response:
    """Say that an outside tool was given something, also where no connector exists."""
    made = await services_of(request).inventory.create_vendor(caller, said.wish(said.name))
    return answer(made, status=201, version=made.version)


@router.get("/{name}", response_class=Response, responses=describes("Vendor"))
async def read_vendor(request: Request, caller: Reader, name: Name) -> Response:
    """Read one vendor."""
    vendor = await services_of(request).inventory.vendor(caller, name)
    return answer(vendor, version=vendor.version)


@router.put("/{name}", response_class=Response, responses=describes("Vendor"))
async def change_vendor(
    request: Request,
    caller: Manager,
    name: Name,
    said: VendorChanged,
    expected: Annotated[int, expected_version()],
) -> Response:
    """Say anew what a vendor was given, or that it is used no more."""
    vendor = await services_of(request).inventory.change_vendor(
        caller, name, said.wish(name), expected=expected, archive=said.archived
    )
    return answer(vendor, version=vendor.version)
