"""One store for each module: rows of a test have identifiers of their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.support.trace_stores import opened_store

from keylease.platform.traces.store.store import TraceStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TraceStore]:
    yield from opened_store(tmp_path_factory.mktemp("traces"))
