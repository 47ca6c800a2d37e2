"""Reads traces, and writes what people and programs say about them.

Promises: a change is readable when it is acknowledged, and its row's history says who made it. What
    is removed has an audit entry before it is gone.
Protects: nothing here leaves the caller's organization and the project it names; that the caller
    may do it there, the route has checked.
"""

from __future__ import annotations

import asyncio
from typing import Final
from weakref import WeakValueDictionary

import msgspec
from msgspec import UNSET

from keylease.contracts.audit import AuditAction
from keylease.errors import InputInvalid, ResourceNotFound, TraceBatchRefused
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.versions import check_version
from keylease.platform.traces.interfaces import MergeSpan, RemoveSpans
from keylease.platform.traces.keeping import Keeping
from keylease.platform.traces.model import Span
from keylease.platform.traces.opening import WhenNeeded
from keylease.platform.traces.query.scope import Scope
from keylease.platform.traces.trees import read_tree
from keylease.platform.traces.wire import Annotation, Tree, Version, shown

_DEEPEST: Final = 100
"""Lists and objects inside each other in what is said about a span."""


class TraceService:
    """Everything about single traces and spans; ``searching`` has lists and sums."""

    def __init__(self, database: Database, keeping: WhenNeeded[Keeping]) -> None:
        self._database = database
        self._keeping = keeping
        self._changing: WeakValueDictionary[tuple[str, ...], asyncio.Lock] = WeakValueDictionary()

    # --- reading ---------------------------------------------------------------------------

    async def tree(
        self,
        caller: Caller,
        project_id: str,
        trace_id: str,
        *,
        at: int | None = None,
        offset: int = 0,
        limit: int,
    ) -> Tree:
        """A trace without its texts. Raises ``ResourceNotFound``."""
        keeping = await self._keeping()
        scope = Scope(organization_id=caller.organization_id, project_ids=(project_id,), at=at)
        tree = await keeping.read(
            lambda: read_tree(keeping.store, scope, trace_id, offset=offset, limit=limit)
        )
        if tree is None:
            raise ResourceNotFound("There is no such trace.")
        return tree

    async def span(
        self, caller: Caller, project_id: str, trace_id: str, span_id: str, *, at: int | None = None
    ) -> Span:
        """One span, whole but for large texts. Raises ``ResourceNotFound``."""
        keeping = await self._keeping()
        return await self._span(keeping, caller, (project_id, trace_id, span_id), at=at)

    async def history(
        self, caller: Caller, project_id: str, trace_id: str, span_id: str
    ) -> list[Version]:
        """Every state of a span, the newest first. Raises ``ResourceNotFound``."""
        keeping = await self._keeping()
        states = await keeping.read(
            lambda: keeping.store.reader.history(
                caller.organization_id, project_id, trace_id, span_id
            )
        )
        if not states:
            raise ResourceNotFound("There is no such span.")
        return [
            Version(
                xact_id=str(state.xact_id),
                changed_by=state.changed_by,
                change=msgspec.json.decode(state.change) if state.change else None,
                span=shown(state),
            )
            for state in states
        ]

    async def payload(self, caller: Caller, project_id: str, trace_id: str, digest: str) -> str:
        """A large text, whole. Raises ``ResourceNotFound``."""
        keeping = await self._keeping()
        text = await keeping.read(
            lambda: keeping.store.reader.payload(
                caller.organization_id, project_id, trace_id, digest
            )
        )
        if text is None:
            raise ResourceNotFound("There is no such text in this trace.")
        return text

    # --- changing --------------------------------------------------------------------------

    async def annotate(
        self,
        caller: Caller,
        project_id: str,
        trace_id: str,
        span_id: str,
        annotation: Annotation,
        *,
        expected: int | None = None,
    ) -> Span:
        """Say something about a span; the span as it is then.

        ``expected``: the version that the caller has read; without it the change is merged into
        whatever is there. Raises ``ResourceNotFound``, ``VersionChanged`` or ``InputInvalid``.
        """
        if _is_too_deep(annotation.metadata) or _is_too_deep(annotation.expected):
            raise InputInvalid(f"It is nested more than {_DEEPEST} deep.")
        fields = _fields(annotation)
        if not fields:
            raise InputInvalid("Say something: scores, tags, metadata, expected or a comment.")
        keeping = await self._keeping()
        key = (project_id, trace_id, span_id)
        lock = self._changing.setdefault((caller.organization_id, *key), asyncio.Lock())
        async with lock:
            before = await self._span(keeping, caller, key)
            if expected is not None:
                check_version(current=before.xact_id, expected=expected)
            xact_id = await keeping.intake.take(
                caller.organization_id,
                project_id,
                [MergeSpan(trace_id=trace_id, span_id=span_id, fields=fields, by=caller.name)],
            )
            await _done(keeping, xact_id)
            return await self._span(keeping, caller, key)

    async def remove(
        self,
        caller: Caller,
        project_id: str,
        *,
        trace_id: str = "",
        span_id: str = "",
        user_id: str = "",
        everything: bool = False,
    ) -> None:
        """Delete a span, a trace, the traces of a user or all of a project for good.

        Raises ``ResourceNotFound``.
        """
        keeping = await self._keeping()
        if span_id:
            await self._span(keeping, caller, (project_id, trace_id, span_id))
        elif trace_id:
            await self.tree(caller, project_id, trace_id, limit=1)
        what = "span" if span_id else "trace" if trace_id else "user" if user_id else "project"
        async with self._database.transaction(caller) as tx:
            await tx.record(
                AuditAction.TRACES_REMOVED,
                project_id,
                details={"what": what, "trace_id": trace_id, "span_id": span_id},
            )
        xact_id = await keeping.intake.take(
            caller.organization_id,
            project_id,
            [
                RemoveSpans(
                    trace_id=trace_id,
                    span_id=span_id,
                    user_id=user_id,
                    everything=everything,
                    by=caller.name,
                )
            ],
        )
        await _done(keeping, xact_id)

    async def _span(
        self, keeping: Keeping, caller: Caller, key: tuple[str, str, str], *, at: int | None = None
    ) -> Span:
        reader, organization_id = keeping.store.reader, caller.organization_id
        found = await keeping.read(lambda: reader.span(organization_id, *key, at=at))
        if found is None:
            raise ResourceNotFound("There is no such span.")
        return found


def _is_too_deep(value: object) -> bool:
    """Whether lists and objects stand deeper within one another than masking would follow."""
    level: list[object] = [value]
    for _ in range(_DEEPEST + 1):
        if not level:
            return False
        inner: list[object] = []
        for each in level:
            if isinstance(each, dict):
                inner += each.values()
            elif isinstance(each, list):
                inner += each
        level = inner
    return bool(level)


async def _done(keeping: Keeping, xact_id: int) -> None:
    """Return when a change is readable. Raises ``TraceBatchRefused`` when it was set aside."""
    await keeping.intake.settled(xact_id)
    if await keeping.read(lambda: keeping.intake.set_aside.has(xact_id)):
        raise TraceBatchRefused(
            "The trace store did not make this change; it was set aside.",
            advice="GET /v1/trace-store/set-aside says why.",
        )


def _fields(annotation: Annotation) -> dict[str, msgspec.Raw]:
    return {
        name: msgspec.Raw(msgspec.json.encode(value))
        for name in Annotation.__struct_fields__
        if (value := getattr(annotation, name)) is not UNSET
    }
