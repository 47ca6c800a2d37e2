"""Lists, sessions and sums over spans: what is asked becomes a statement, its rows an answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final, TypedDict, TypeVar

import msgspec

from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.traces.keeping import Keeping
from keylease.platform.traces.model import Span
from keylease.platform.traces.opening import WhenNeeded
from keylease.platform.traces.query.aggregates import Bucket, aggregates
from keylease.platform.traces.query.evaluate import prepare, selects
from keylease.platform.traces.query.lists import (
    LIST_COLUMNS,
    SpanOrder,
    found_by_places,
    places_of_traces,
    session_key,
    sessions_page,
    spans_page,
    spans_places,
    sums_once,
    trace_summaries,
    traces_page,
    traces_places,
)
from keylease.platform.traces.query.newest import (
    MOST_PLACES,
    Places,
    newest_rows,
    rows_statement,
)
from keylease.platform.traces.query.parser import parse_filter
from keylease.platform.traces.query.scope import Scope, TimeRange
from keylease.platform.traces.query.sql.scoping import Argument, scoped_query
from keylease.platform.traces.query.statement import Statement
from keylease.platform.traces.query.syntax import Expression
from keylease.platform.traces.query.twins import any_below
from keylease.platform.traces.wire import SessionLine, SpanLine, SumLine, TraceLine
from keylease.primitives.clock import Clock

_OF_ALL: Final = re.compile(r"^(\s*(?:Parts|Granules): \d+)/\d+")
SESSION_PLACES: Final = 3
"""How many texts a cursor of sessions has."""
Row = dict[str, Any]
Line = TypeVar("Line")


class _Wanted(TypedDict):
    """What pages of lists take."""

    limit: int
    where: Expression
    time: TimeRange
    order: SpanOrder
    after: Sequence[str] | None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What lists and sums have in common."""

    project_id: str
    filter: str = ""
    time: TimeRange = TimeRange()
    at: int | None = None
    """The transaction to read as of; ``None`` is now."""


class SqlAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a statement gave."""

    columns: tuple[str, ...]
    types: tuple[str, ...]
    """ClickHouse's; times of spans are microseconds UTC."""
    rows: Sequence[tuple[Any, ...]]
    cut: bool = False
    """Whether it was cut at the LIMIT that a statement without one gets."""


class TraceSearch:
    """Everything about many spans."""

    def __init__(self, keeping: WhenNeeded[Keeping], clock: Clock) -> None:
        self._keeping = keeping
        self._clock = clock

    async def spans(
        self, caller: Caller, asked: Asked, page: PageRequest, *, order: SpanOrder
    ) -> Page[SpanLine]:
        """Spans without their texts. Raises ``QueryInvalid`` or ``CursorInvalid``."""
        wanted = self._wanted(asked, page, order)
        rows = await self._page(_scope(caller, asked), wanted, spans_page, spans_places)
        return _lines(page_of(rows, page, key=order.key), SpanLine)

    async def traces(
        self, caller: Caller, asked: Asked, page: PageRequest, *, order: SpanOrder
    ) -> Page[TraceLine]:
        """Traces with a span that the filter selects: the root, and sums over all spans."""
        scope = _scope(caller, asked)
        wanted = self._wanted(asked, page, order)
        rows = await self._page(scope, wanted, traces_page, traces_places, roots=True)
        found = page_of(rows, page, key=order.key)
        names = [row["trace_id"] for row in found.items]
        sums = await self._sums_of(scope, names) if names else []
        for row in sums:
            row["last_xact_id"] = str(row["last_xact_id"])
        by_trace = {row["trace_id"]: row for row in sums}
        for row in found.items:
            row["trace"] = by_trace.get(row["trace_id"])
        return _lines(found, TraceLine)

    async def _sums_of(self, scope: Scope, trace_ids: list[str]) -> list[Row]:
        places = await self._rows(places_of_traces(scope, trace_ids))
        minutes = sorted({row["kl_minute"] for row in places})
        among = None
        if len(minutes) <= MOST_PLACES:
            hashes = sorted({row["kl_hash"] for row in places})
            among = Places(minutes=tuple(minutes), hashes=tuple(hashes))
        sums = await self._rows(trace_summaries(scope, trace_ids, among=among))
        if twice := [row["trace_id"] for row in sums if row["kl_below"]]:
            rows = await self._rows(sums_once(scope, twice, among=among))
            once = {row["trace_id"]: row for row in rows}
            for row in sums:
                row.update(once.get(row["trace_id"], {}))
        return sums

    async def sessions(self, caller: Caller, asked: Asked, page: PageRequest) -> Page[SessionLine]:
        """Sessions, those that were active last first."""
        rows = await self._rows(
            sessions_page(
                _scope(caller, asked),
                limit=page.limit + 1,
                where=parse_filter(asked.filter, now=self._clock.now()),
                time=asked.time,
                after=page.after(SESSION_PLACES),
            )
        )
        return _lines(page_of(rows, page, key=session_key), SessionLine)

    async def sums(
        self,
        caller: Caller,
        asked: Asked,
        *,
        bucket: Bucket | None = None,
        group_by: str = "",
        top: int = 10,
        count_twins: bool = False,
    ) -> list[SumLine]:
        """Counts, errors, latencies, tokens and costs. Raises ``QueryInvalid``.

        A call that its program and the gateway report counts once, unless ``count_twins``.
        """
        scope, where = _scope(caller, asked), parse_filter(asked.filter, now=self._clock.now())
        if not count_twins:
            count_twins = not await self._rows(any_below(scope, time=asked.time))
        rows = await self._rows(
            aggregates(
                scope,
                where=where,
                time=asked.time,
                bucket=bucket,
                group_by=group_by,
                top=top,
                count_twins=count_twins,
            )
        )
        return msgspec.convert(rows, list[SumLine], strict=False)

    async def sql(
        self,
        caller: Caller,
        query: str,
        *,
        project_ids: tuple[str, ...],
        parameters: Mapping[str, Argument],
        at: int | None = None,
        explain: bool = False,
    ) -> SqlAnswer:
        """A statement of a user over these projects.

        Raises ``QueryInvalid``, ``QueryNotAllowed`` or ``QueryTooExpensive``.
        """
        scope = Scope(organization_id=caller.organization_id, project_ids=project_ids, at=at)
        scoped = await asyncio.to_thread(scoped_query, query, scope, parameters)
        statement = scoped.explained() if explain else scoped.statement
        keeping = await self._keeping()
        found = await keeping.read_long(
            lambda: keeping.store.select_for_user(statement.sql, statement.parameters)
        )
        return SqlAnswer(
            columns=found.columns,
            types=found.types,
            rows=_own_parts(found.rows) if explain else found.rows,
            cut=scoped.limit is not None and len(found.rows) >= scoped.limit and not explain,
        )

    async def selector(self, text: str) -> Callable[[Span], bool]:
        """A filter for single rows, as a tail needs it. Raises ``QueryInvalid``."""
        expression = parse_filter(text, now=self._clock.now())
        await asyncio.to_thread(prepare, expression)
        return lambda span: selects(expression, span)

    def _wanted(self, asked: Asked, page: PageRequest, order: SpanOrder) -> _Wanted:
        return _Wanted(
            limit=page.limit + 1,
            where=parse_filter(asked.filter, now=self._clock.now()),
            time=asked.time,
            order=order,
            after=page.after(order.places),
        )

    async def _page(
        self,
        scope: Scope,
        wanted: _Wanted,
        page: Callable[..., Statement],
        places: Callable[..., Statement],
        *,
        roots: bool = False,
    ) -> list[Row]:
        if not found_by_places(scope, wanted["order"], wanted["where"], roots=roots):
            return await self._rows(page(scope, **wanted))
        where, time, after = wanted["where"], wanted["time"], wanted["after"]
        search = newest_rows(
            wanted["limit"],
            partial(places, scope, where=where, time=time, after=after),
            partial(rows_statement, scope, LIST_COLUMNS),
            partial(page, scope, **wanted),
            one_of="trace_id" if roots else "",
        )
        statement = next(search)
        while True:
            rows = await self._rows(statement)
            try:
                statement = search.send(rows)
            except StopIteration as found:
                return list(found.value)

    async def _rows(self, statement: Statement) -> list[Row]:
        keeping = await self._keeping()
        found = await keeping.read(
            lambda: keeping.store.select(statement.sql, statement.parameters)
        )
        return [dict(row) for row in found.dicts()]


def _own_parts(plan: Sequence[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """A plan without how much there is in all: that is of other organizations, too."""
    return [tuple(_OF_ALL.sub(r"\1", str(cell)) for cell in row) for row in plan]


def _lines(page: Page[Row], shape: type[Line]) -> Page[Line]:
    for row in page.items:
        if "xact_id" in row:
            row["xact_id"] = str(row["xact_id"])
    # Not strict: the engine's booleans are numbers.
    items = msgspec.convert(page.items, tuple[shape, ...], strict=False)  # type: ignore[valid-type]  # a type made here
    return Page(items=items, next_cursor=page.next_cursor)


def _scope(caller: Caller, asked: Asked) -> Scope:
    return Scope(
        organization_id=caller.organization_id, project_ids=(asked.project_id,), at=asked.at
    )
