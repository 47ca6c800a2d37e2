"""Contacts: who is told of what."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response

from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.schemas import ContactIn, ContactOut
from keylease.platform.server.guard import allowed
from keylease.platform.server.problems import problem_responses
from keylease.platform.server.requests import (
    Identifier,
    PageOf,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import services_of

router: APIRouter = resource_router(prefix="/v1/contacts", tag="contacts")
_CHANGES = problem_responses(412, 428)
Reader = Annotated[Caller, allowed(Permission.PRINCIPAL_READ)]
Manager = Annotated[Caller, allowed(Permission.PRINCIPAL_MANAGE)]
Expected = Annotated[int, expected_version()]


@router.get("")
async def list_contacts(
    request: Request, caller: Reader, page: Annotated[PageRequest, page_request()]
) -> PageOf[ContactOut]:
    """Contacts, the oldest first."""
    found = await services_of(request).directory.contacts.page(caller, page)
    items = [ContactOut.of(contact) for contact in found.items]
    return PageOf(items=items, next_cursor=found.next_cursor)


@router.post("", status_code=201)
async def create_contact(
    request: Request, response: Response, caller: Manager, body: ContactIn
) -> ContactOut:
    """Add a user, or an address, to those who are told."""
    made = await services_of(request).directory.contacts.create(caller, body.content())
    set_version(response, made.version)
    return ContactOut.of(made)


@router.get("/{contact_id}")
async def read_contact(
    request: Request, response: Response, caller: Reader, contact_id: Identifier
) -> ContactOut:
    """One contact."""
    found = await services_of(request).directory.contacts.get(caller, contact_id)
    set_version(response, found.version)
    return ContactOut.of(found)


@router.put("/{contact_id}", responses=_CHANGES)
async def change_contact(
    request: Request,
    response: Response,
    caller: Manager,
    contact_id: Identifier,
    body: ContactIn,
    expected: Expected,
) -> ContactOut:
    """Change whom to tell, or of what."""
    contacts = services_of(request).directory.contacts
    changed = await contacts.change(caller, contact_id, body.content(), expected=expected)
    set_version(response, changed.version)
    return ContactOut.of(changed)


@router.delete("/{contact_id}", status_code=204, responses=_CHANGES)
async def remove_contact(
    request: Request, caller: Manager, contact_id: Identifier, expected: Expected
) -> None:
    """Remove a contact with its address."""
    await services_of(request).directory.contacts.remove(caller, contact_id, expected=expected)
