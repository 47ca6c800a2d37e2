"""One store for each module: a process has one engine at a time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.queried_spans import (
    OTHER_PROJECT,
    OURS,
    START,
    foreign_span,
    opened_store,
    put,
    stored_span,
)

from keylease.platform.traces.store.store import TraceStore

PINNED = 1_000
"""The last transaction before a span is changed."""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    """Forty spans of ours, one of them changed after ``PINNED``; foreign ones around them."""
    with opened_store(tmp_path_factory.mktemp("query")) as opened:
        ours = [stored_span(number) for number in range(40)]
        foreign = [foreign_span(number) for number in range(6)]
        other = [
            foreign_span(number, organization_id=OURS, project_id=OTHER_PROJECT)
            for number in range(6)
        ]
        put(opened, [*ours, *foreign, *other], xact_id=PINNED - 10)
        changed = stored_span(3, name="changed", ended_at=START + 9_000_000)
        put(opened, [changed, foreign_span(3, ended_at=START + 9_000_000)], xact_id=PINNED + 10)
        yield opened
