"""Stores things, their revisions and the state of the policy. Decides nothing."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Final

import msgspec
from sqlalchemy import and_, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql import ColumnElement

from keylease.errors import ResourceNotFound
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.policy.resources import (
    Content,
    DraftState,
    PolicyContents,
    Resource,
    ResourceKind,
    Revision,
    decode,
    encode,
    kind_of,
)
from keylease.platform.policy.tables import OBJECTS, REVISIONS, STATE

_NAMES: Final = {
    ResourceKind.CREDENTIAL: "credential",
    ResourceKind.ROUTE: "route",
    ResourceKind.GRANT: "policy grant",
    ResourceKind.BUDGET: "budget",
    ResourceKind.TRUST_RULE: "trust rule",
    ResourceKind.SETTINGS: "settings",
}


class PolicyState(msgspec.Struct, frozen=True, kw_only=True):
    """Where an organization's policy stands."""

    published: int = 0
    draft: int = 0
    generation: int = 0
    bundle_version: int = 0


class Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A thing with what only publishing needs to know of it."""

    resource: Resource
    settled: int
    removed: bool


# --- the state -----------------------------------------------------------------------------


async def read_state(tx: Transaction, organization_id: str) -> PolicyState:
    """Where the policy stands; all zero for an organization that has none yet."""
    row = await tx.row(select(STATE).where(STATE.c.organization_id == organization_id))
    return _state(row) if row is not None else PolicyState()


async def lock_state(tx: Transaction, organization_id: str) -> PolicyState:
    """As ``read_state``; whoever else changes this policy waits until this transaction ends."""
    first = {"organization_id": organization_id, **msgspec.structs.asdict(PolicyState())}
    # Both databases know ON CONFLICT, each through its own class.
    if tx.connection.dialect.name == "postgresql":
        await tx.execute(postgresql.insert(STATE).values(first).on_conflict_do_nothing())
    else:
        await tx.execute(sqlite.insert(STATE).values(first).on_conflict_do_nothing())
    row = await tx.row(
        select(STATE).where(STATE.c.organization_id == organization_id).with_for_update()
    )
    if row is None:  # pragma: no cover - inserted above
        raise ResourceNotFound("There is no policy.")
    return _state(row)


async def set_state(tx: Transaction, organization_id: str, **values: int) -> None:
    """Change members of the state; the caller holds the lock."""
    await tx.execute(
        update(STATE).where(STATE.c.organization_id == organization_id).values(**values)
    )


def _state(row: Row) -> PolicyState:
    return PolicyState(
        published=row["published"],
        draft=row["draft"],
        generation=row["generation"],
        bundle_version=row["bundle_version"],
    )


# --- things --------------------------------------------------------------------------------


async def find(tx: Transaction, kind: ResourceKind, object_id: str) -> Stored:
    """A thing of the caller's organization that was not removed. Raises ``ResourceNotFound``."""
    row = await tx.row(
        select(OBJECTS).where(
            OBJECTS.c.organization_id == tx.caller.organization_id,
            OBJECTS.c.id == object_id,
            OBJECTS.c.kind == kind.value,
            OBJECTS.c.removed_at.is_(None),
        )
    )
    if row is None:
        raise ResourceNotFound(f"There is no such {_NAMES[kind]}.")
    return _stored(row)


async def known(
    tx: Transaction, kind: ResourceKind, object_ids: Collection[str] | None = None
) -> dict[str, Content]:
    """Things that are in the draft, by identifier: all of a kind, or those that are named."""
    if object_ids is not None and not object_ids:
        return {}
    query = select(OBJECTS).where(
        OBJECTS.c.organization_id == tx.caller.organization_id,
        OBJECTS.c.kind == kind.value,
        OBJECTS.c.removed_at.is_(None),
    )
    if object_ids is not None:
        query = query.where(OBJECTS.c.id.in_(object_ids))
    return {row["id"]: decode(kind, row["content"]) for row in await tx.rows(query)}


async def name_is_taken(
    tx: Transaction, kind: ResourceKind, name: str, *, but_by: str = ""
) -> bool:
    """Whether another thing of the kind has the name."""
    row = await tx.row(
        select(OBJECTS.c.id).where(
            OBJECTS.c.organization_id == tx.caller.organization_id,
            OBJECTS.c.kind == kind.value,
            OBJECTS.c.taken_name == name,
        )
    )
    return row is not None and row["id"] != but_by


async def page(
    tx: Transaction, kind: ResourceKind, request: PageRequest, *, name: str = ""
) -> Page[Resource]:
    """Things of a kind in the order of their names."""
    query = select(OBJECTS).where(
        OBJECTS.c.organization_id == tx.caller.organization_id,
        OBJECTS.c.kind == kind.value,
        OBJECTS.c.removed_at.is_(None),
    )
    if name:
        query = query.where(OBJECTS.c.taken_name == name)
    if (last := request.after()) is not None:
        query = query.where(OBJECTS.c.taken_name > last[0])
    rows = await tx.rows(query.order_by(OBJECTS.c.taken_name).limit(request.limit + 1))
    found = page_of(rows, request, key=lambda row: (str(row["taken_name"]),))
    return Page(
        items=tuple(_stored(row).resource for row in found.items), next_cursor=found.next_cursor
    )


async def unsettled(tx: Transaction) -> list[Stored]:
    """What of the draft differs from the published policy, removed things included."""
    rows = await tx.rows(
        select(OBJECTS)
        .where(
            OBJECTS.c.organization_id == tx.caller.organization_id,
            OBJECTS.c.draft_state != DraftState.PUBLISHED.value,
        )
        .order_by(OBJECTS.c.kind, OBJECTS.c.id)
    )
    return [_stored(row) for row in rows]


async def add(tx: Transaction, object_id: str, content: Content, *, change: str) -> None:
    """A new thing and its first revision."""
    kind = kind_of(content)
    document = encode(content)
    await tx.execute(
        OBJECTS.insert().values(
            organization_id=tx.caller.organization_id,
            id=object_id,
            kind=kind.value,
            taken_name=content.name,
            version=1,
            content=document,
            draft_state=DraftState.NEW.value,
            settled=0,
            created_at=tx.now,
            changed_at=tx.now,
            changed_by=tx.caller.name,
        )
    )
    await _add_revision(tx, object_id, kind, version=1, change=change, document=document)


async def change(
    tx: Transaction,
    before: Resource,
    content: Content | None,
    *,
    change: str,
    draft_state: DraftState,
    settled: int | None = None,
) -> int:
    """Write a thing's next revision; ``None`` removes it. Gives the new version."""
    version = before.version + 1
    document = encode(content) if content is not None else None
    values: dict[str, object] = {
        "version": version,
        "draft_state": draft_state.value,
        "taken_name": content.name if content is not None else None,
        "removed_at": None if content is not None else tx.now,
        "changed_at": tx.now,
        "changed_by": tx.caller.name,
    }
    if document is not None:
        values["content"] = document
    if settled is not None:
        values["settled"] = settled
    await tx.execute(update(OBJECTS).where(_is(tx, before.id)).values(**values))
    await _add_revision(
        tx, before.id, before.kind, version=version, change=change, document=document
    )
    return version


async def bring_to(
    tx: Transaction, target: PolicyContents, *, change_word: str, settle_them: bool = False
) -> int:
    """Make the draft what ``target`` is; gives how many things changed.

    ``settle_them`` says that these changes are nobody's proposal: they only take others back.
    """
    wanted = {name: content for _, name, content in target.items()}
    rows = await tx.rows(
        select(OBJECTS).where(OBJECTS.c.organization_id == tx.caller.organization_id)
    )
    affected = [
        stored
        for stored in map(_stored, rows)
        if (None if stored.removed else stored.resource.content) != wanted.get(stored.resource.id)
    ]
    for stored in affected:
        # Names are given free first: two things may have swapped theirs.
        await tx.execute(update(OBJECTS).where(_is(tx, stored.resource.id)).values(taken_name=None))
    for stored in affected:
        before = stored.resource
        content = wanted.get(before.id)
        published = await published_document(tx, before.id)
        await change(
            tx,
            before,
            content,
            change=change_word,
            draft_state=draft_state(content, published),
            settled=before.version + 1 if settle_them else None,
        )
    return len(affected)


def draft_state(content: Content | None, published: bytes | None) -> DraftState:
    """How a thing with this content stands to what is published of it."""
    if content is None:
        return DraftState.PUBLISHED if published is None else DraftState.REMOVED
    if published is None:
        return DraftState.NEW
    return DraftState.PUBLISHED if encode(content) == published else DraftState.CHANGED


async def settle(tx: Transaction, object_id: str, version: int) -> None:
    """Say that a thing is published as it is."""
    await tx.execute(
        update(OBJECTS)
        .where(_is(tx, object_id))
        .values(draft_state=DraftState.PUBLISHED.value, settled=version)
    )


def _is(tx: Transaction, object_id: str) -> ColumnElement[bool]:
    return and_(OBJECTS.c.organization_id == tx.caller.organization_id, OBJECTS.c.id == object_id)


def _stored(row: Row) -> Stored:
    kind = ResourceKind(row["kind"])
    return Stored(
        resource=Resource(
            id=row["id"],
            kind=kind,
            version=row["version"],
            content=decode(kind, row["content"]),
            draft_state=DraftState(row["draft_state"]),
            created_at=row["created_at"],
            changed_at=row["changed_at"],
            changed_by=row["changed_by"],
        ),
        settled=row["settled"],
        removed=row["removed_at"] is not None,
    )


# --- revisions -----------------------------------------------------------------------------


async def _add_revision(
    tx: Transaction,
    object_id: str,
    kind: ResourceKind,
    *,
    version: int,
    change: str,
    document: bytes | None,
) -> None:
    await tx.execute(
        REVISIONS.insert().values(
            organization_id=tx.caller.organization_id,
            object_id=object_id,
            version=version,
            kind=kind.value,
            at=tx.now,
            principal=tx.caller.name,
            change=change,
            content=document,
        )
    )


async def history(
    tx: Transaction, kind: ResourceKind, object_id: str, request: PageRequest
) -> Page[Revision]:
    """A thing's changes, the newest first; also of one that was removed."""
    query = select(REVISIONS).where(
        REVISIONS.c.organization_id == tx.caller.organization_id,
        REVISIONS.c.object_id == object_id,
        REVISIONS.c.kind == kind.value,
    )
    if (last := request.after()) is not None:
        query = query.where(REVISIONS.c.version < _number(last[0]))
    # One more than the page, and one more: what the last one changed is in the one before it.
    rows = await tx.rows(query.order_by(REVISIONS.c.version.desc()).limit(request.limit + 2))
    if not rows and not request.cursor:
        raise ResourceNotFound(f"There is no such {_NAMES[kind]}.")
    documents = {row["version"]: row["content"] for row in rows}
    found = page_of(rows[: request.limit + 1], request, key=lambda row: (str(row["version"]),))
    return Page(
        items=tuple(
            _revision(row, before=documents.get(row["version"] - 1)) for row in found.items
        ),
        next_cursor=found.next_cursor,
    )


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0  # noqa: PLR2004 - digits of a bigint


def _revision(row: Row, *, before: bytes | None) -> Revision:
    kind = ResourceKind(row["kind"])
    return Revision(
        object_id=row["object_id"],
        kind=kind,
        version=row["version"],
        at=row["at"],
        principal=row["principal"],
        change=row["change"],
        before=decode(kind, before) if before is not None else None,
        after=decode(kind, row["content"]) if row["content"] is not None else None,
    )


async def authors(tx: Transaction, things: Iterable[Stored]) -> frozenset[str]:
    """Who made the changes that are neither published nor discarded."""
    settled = {thing.resource.id: thing.settled for thing in things}
    rows = await tx.rows(
        select(REVISIONS.c.object_id, REVISIONS.c.version, REVISIONS.c.principal)
        .join(
            OBJECTS,
            and_(
                OBJECTS.c.organization_id == REVISIONS.c.organization_id,
                OBJECTS.c.id == REVISIONS.c.object_id,
            ),
        )
        .where(
            REVISIONS.c.organization_id == tx.caller.organization_id,
            OBJECTS.c.draft_state != DraftState.PUBLISHED.value,
            REVISIONS.c.version > OBJECTS.c.settled,
        )
    )
    return frozenset(row["principal"] for row in rows if row["object_id"] in settled)


# --- whole states --------------------------------------------------------------------------


async def draft_contents(tx: Transaction, organization_id: str) -> PolicyContents:
    """The draft as a whole."""
    rows = await tx.rows(
        select(OBJECTS.c.id, OBJECTS.c.kind, OBJECTS.c.content).where(
            OBJECTS.c.organization_id == organization_id, OBJECTS.c.removed_at.is_(None)
        )
    )
    return _contents((row["kind"], row["id"], row["content"]) for row in rows)


async def published_contents(tx: Transaction, organization_id: str, version: int) -> PolicyContents:
    """A published version as a whole; version 0 is empty."""
    rows = await tx.rows(
        select(REVISIONS.c.object_id, REVISIONS.c.kind, REVISIONS.c.content).where(
            REVISIONS.c.organization_id == organization_id,
            REVISIONS.c.published_from <= version,
            or_(REVISIONS.c.published_until.is_(None), REVISIONS.c.published_until > version),
            REVISIONS.c.content.is_not(None),
        )
    )
    return _contents((row["kind"], row["object_id"], row["content"]) for row in rows)


async def published_document(tx: Transaction, object_id: str) -> bytes | None:
    """What the published policy says about a thing; ``None`` when it is not part of it."""
    row = await tx.row(
        select(REVISIONS.c.content).where(
            REVISIONS.c.organization_id == tx.caller.organization_id,
            REVISIONS.c.object_id == object_id,
            REVISIONS.c.published_from.is_not(None),
            REVISIONS.c.published_until.is_(None),
        )
    )
    return row["content"] if row is not None else None


async def publish(tx: Transaction, things: Iterable[Stored], *, version: int) -> None:
    """Let the present revisions of these things be what the policy says from ``version`` on."""
    for thing in things:
        name = thing.resource.id
        of_thing = and_(
            REVISIONS.c.organization_id == tx.caller.organization_id, REVISIONS.c.object_id == name
        )
        await tx.execute(
            update(REVISIONS)
            .where(
                of_thing,
                REVISIONS.c.published_from.is_not(None),
                REVISIONS.c.published_until.is_(None),
            )
            .values(published_until=version)
        )
        if not thing.removed:
            await tx.execute(
                update(REVISIONS)
                .where(of_thing, REVISIONS.c.version == thing.resource.version)
                .values(published_from=version)
            )
        await settle(tx, name, thing.resource.version)


async def count(tx: Transaction, kind: ResourceKind) -> int:
    """How many things of a kind are in the draft."""
    query = select(func.count()).where(
        OBJECTS.c.organization_id == tx.caller.organization_id,
        OBJECTS.c.kind == kind.value,
        OBJECTS.c.removed_at.is_(None),
    )
    return int((await tx.execute(query)).scalar_one())


def _contents(rows: Iterable[tuple[str, str, bytes]]) -> PolicyContents:
    contents = PolicyContents()
    for kind_name, identifier, document in rows:
        kind = ResourceKind(kind_name)
        contents.of(kind)[identifier] = decode(kind, document)
    return contents
