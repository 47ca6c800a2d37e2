"""Stores what was published, and what waits for a second principal. Decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec
from sqlalchemy import select, update

from keylease.errors import ResourceNotFound
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Row, Transaction
from keylease.platform.policy.tables import PROPOSALS, VERSIONS
from keylease.platform.policy.widening import Widening

_LONGEST_NUMBER: Final = 18


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A published version."""

    version: int
    at: int
    principal: str
    approved_by: str = ""
    note: str = ""
    rolled_back_to: int = 0
    """The version whose content it has again; 0 when it is no rollback."""
    changes: int = 0
    """How many things differ from the version before."""
    widenings: tuple[Widening, ...] = ()


class ProposalKind(StrEnum):
    """What waits. Stored."""

    PUBLICATION = "publication"
    LIFTING = "lifting"
    """Of a revocation; ``subject`` is its identifier."""


class ProposalState(StrEnum):
    """What became of it. Stored."""

    PENDING = "pending"
    APPROVED = "approved"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    OVERTAKEN = "overtaken"
    """The draft was changed, or something else was published, after it was proposed."""


class Proposal(msgspec.Struct, frozen=True, kw_only=True):
    """A change that widens access and waits, or waited, for a second principal."""

    id: str
    kind: ProposalKind
    subject: str = ""
    draft: int = 0
    """The draft that was proposed; another one needs another proposal."""
    note: str = ""
    widenings: tuple[Widening, ...] = ()
    authors: tuple[str, ...] = ()
    """Whoever made one of the changes, or proposed them: none of them can approve."""
    requested_by: str
    requested_at: int
    expires_at: int
    state: ProposalState = ProposalState.PENDING
    decided_by: str = ""
    decided_at: int = 0


async def add_version(tx: Transaction, version: PolicyVersion) -> None:
    """Store a version that is published in this transaction."""
    await tx.execute(
        VERSIONS.insert().values(
            organization_id=tx.caller.organization_id,
            version=version.version,
            at=version.at,
            principal=version.principal,
            approved_by=version.approved_by,
            note=version.note,
            rolled_back_to=version.rolled_back_to,
            changes=version.changes,
            widenings=msgspec.json.encode(version.widenings),
        )
    )


async def find_version(tx: Transaction, number: int) -> PolicyVersion:
    """A published version. Raises ``ResourceNotFound``."""
    row = await tx.row(
        select(VERSIONS).where(
            VERSIONS.c.organization_id == tx.caller.organization_id, VERSIONS.c.version == number
        )
    )
    if row is None:
        raise ResourceNotFound("No such version of the policy was published.")
    return _version(row)


async def versions(tx: Transaction, request: PageRequest) -> Page[PolicyVersion]:
    """Published versions, the newest first."""
    query = select(VERSIONS).where(VERSIONS.c.organization_id == tx.caller.organization_id)
    if (last := request.after()) is not None:
        query = query.where(VERSIONS.c.version < number_of(last[0]))
    rows = await tx.rows(query.order_by(VERSIONS.c.version.desc()).limit(request.limit + 1))
    return page_of(
        [_version(row) for row in rows], request, key=lambda version: (str(version.version),)
    )


def number_of(text: str) -> int:
    """A version number from a cursor; 0 for what is none."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _LONGEST_NUMBER else 0


def _version(row: Row) -> PolicyVersion:
    return PolicyVersion(
        version=row["version"],
        at=row["at"],
        principal=row["principal"],
        approved_by=row["approved_by"],
        note=row["note"],
        rolled_back_to=row["rolled_back_to"],
        changes=row["changes"],
        widenings=msgspec.json.decode(row["widenings"], type=tuple[Widening, ...]),
    )


async def add_proposal(tx: Transaction, proposal: Proposal) -> None:
    """Store a proposal."""
    await tx.execute(
        PROPOSALS.insert().values(
            organization_id=tx.caller.organization_id,
            id=proposal.id,
            kind=proposal.kind.value,
            subject=proposal.subject,
            draft=proposal.draft,
            note=proposal.note,
            widenings=msgspec.json.encode(proposal.widenings),
            authors=msgspec.json.encode(proposal.authors),
            requested_by=proposal.requested_by,
            requested_at=proposal.requested_at,
            expires_at=proposal.expires_at,
            state=proposal.state.value,
            decided_by=proposal.decided_by,
            decided_at=proposal.decided_at,
        )
    )


async def decide(tx: Transaction, proposal_id: str, state: ProposalState) -> None:
    """Write down what became of a proposal."""
    await tx.execute(
        update(PROPOSALS)
        .where(
            PROPOSALS.c.organization_id == tx.caller.organization_id, PROPOSALS.c.id == proposal_id
        )
        .values(state=state.value, decided_by=tx.caller.name, decided_at=tx.now)
    )


async def find_proposal(tx: Transaction, proposal_id: str) -> Proposal:
    """A proposal of the caller's organization. Raises ``ResourceNotFound``."""
    row = await tx.row(
        select(PROPOSALS).where(
            PROPOSALS.c.organization_id == tx.caller.organization_id, PROPOSALS.c.id == proposal_id
        )
    )
    if row is None:
        raise ResourceNotFound("There is no such proposal.")
    return _proposal(row)


async def pending(tx: Transaction) -> Sequence[Proposal]:
    """The caller's organization's proposals that nobody has decided."""
    rows = await tx.rows(
        select(PROPOSALS)
        .where(
            PROPOSALS.c.organization_id == tx.caller.organization_id,
            PROPOSALS.c.state == ProposalState.PENDING.value,
        )
        .order_by(PROPOSALS.c.id)
    )
    return [_proposal(row) for row in rows]


async def with_expired_proposals(tx: Transaction) -> Sequence[str]:
    """Every organization that has proposals which wait beyond their time."""
    found = await tx.execute(
        select(PROPOSALS.c.organization_id)
        .where(PROPOSALS.c.state == ProposalState.PENDING.value, PROPOSALS.c.expires_at <= tx.now)
        .distinct()
    )
    return found.scalars().all()


async def proposals(
    tx: Transaction, request: PageRequest, *, state: ProposalState | None = None
) -> Page[Proposal]:
    """Proposals, the newest first."""
    query = select(PROPOSALS).where(PROPOSALS.c.organization_id == tx.caller.organization_id)
    if state is not None:
        query = query.where(PROPOSALS.c.state == state.value)
    if (last := request.after()) is not None:
        query = query.where(PROPOSALS.c.id < last[0])
    rows = await tx.rows(query.order_by(PROPOSALS.c.id.desc()).limit(request.limit + 1))
    return page_of([_proposal(row) for row in rows], request, key=lambda found: (found.id,))


def _proposal(row: Row) -> Proposal:
    return Proposal(
        id=row["id"],
        kind=ProposalKind(row["kind"]),
        subject=row["subject"],
        draft=row["draft"],
        note=row["note"],
        widenings=msgspec.json.decode(row["widenings"], type=tuple[Widening, ...]),
        authors=msgspec.json.decode(row["authors"], type=tuple[str, ...]),
        requested_by=row["requested_by"],
        requested_at=row["requested_at"],
        expires_at=row["expires_at"],
        state=ProposalState(row["state"]),
        decided_by=row["decided_by"],
        decided_at=row["decided_at"],
    )
