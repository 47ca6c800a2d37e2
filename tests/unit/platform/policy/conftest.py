from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.manual_clock import ManualClock
from tests.support.policy_kit import Surroundings, policy_of

from keylease.platform.db.database import Database
from keylease.platform.policy.domain import Policy


@pytest.fixture
def around() -> Surroundings:
    return Surroundings()


@pytest.fixture
def policy(database: Database, clock: ManualClock, tmp_path: Path, around: Surroundings) -> Policy:
    return policy_of(database, clock, tmp_path, around)
