"""Whose spans are masked with a key that the server was given."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.furnished import first_tenant, tenant
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

from keylease.errors import ConfigurationError
from keylease.platform.db.database import Database
from keylease.platform.server.first_start import share_fingerprint_keys
from keylease.primitives.fingerprints import new_keys


async def test_a_key_goes_to_the_organization_that_it_is_for(
    database: Database, clock: ManualClock, tmp_path: Path
) -> None:
    async with services_for(database, clock, tmp_path) as services:
        first = (await first_tenant(services)).organization_id
        second = (await tenant(services, "Zebra")).organization_id
        ring, one, other = services.traces.fingerprint_keys, new_keys("one"), new_keys("other")
        with pytest.raises(ConfigurationError, match="not there"):
            await share_fingerprint_keys(services, {"somebody": one})
        with pytest.raises(ConfigurationError, match="two keys"):
            await share_fingerprint_keys(services, {"": one, first: other})
        assert ring.shared_with(first) == ""
        await share_fingerprint_keys(services, {"": one, second: other})
        assert (ring.shared_with(first), ring.shared_with(second)) == ("one.1", "other.1")
        trust = services.trust
        owner = (await first_tenant(services)).owner
        kinds = {held.kind: held for held in (await trust.report(owner)).secrets}
        assert kinds["organization's fingerprint key"].subject == "one.1"
