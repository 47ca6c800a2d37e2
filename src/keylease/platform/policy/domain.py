"""Policy as the server and other domains use it: made once, by ``make_policy``.

policy.resources      credentials, routes, grants, budgets, trust rules: the draft
policy.credentials    credentials from all sides: versions, age, boundary, reach
policy.publisher      publish, roll back, approve
policy.revocations    what is dead before its time
policy.bundles        ``BundleSource`` of gateways
policy.keys           who signs
policy.dry_runs       which calls a policy would have refused
policy.inputs         ``BundleChanges``, for domains whose data is part of bundles
policy.holdings       what a principal owns and holds, when they leave
policy.expiry         ends proposals at their time
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from keylease.platform.db.database import Database
from keylease.platform.policy.bundle_inputs import BundleInputs
from keylease.platform.policy.bundles import PolicyBundles
from keylease.platform.policy.dry_run import DryRuns
from keylease.platform.policy.expiry import ProposalExpiry
from keylease.platform.policy.interfaces import (
    ApiKeyUses,
    CallRecords,
    GatewayGroups,
    Organizations,
)
from keylease.platform.policy.keys import PolicyKeys
from keylease.platform.policy.overview import Credentials
from keylease.platform.policy.people import PolicyHoldings
from keylease.platform.policy.publishing import PolicyPublisher
from keylease.platform.policy.revocations import Revocations
from keylease.platform.policy.service import PolicyResources
from keylease.primitives.clock import Clock


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The policy of every organization of this installation."""

    inputs: BundleInputs
    resources: PolicyResources
    credentials: Credentials
    publisher: PolicyPublisher
    revocations: Revocations
    keys: PolicyKeys
    bundles: PolicyBundles
    dry_runs: DryRuns
    holdings: PolicyHoldings
    expiry: ProposalExpiry
    """Works while ``expiry.running()`` is entered."""


def make_policy(
    database: Database,
    *,
    clock: Clock,
    key_directory: Path,
    organizations: Organizations,
    api_keys: ApiKeyUses,
    records: CallRecords,
    groups: GatewayGroups,
) -> Policy:
    """The parts; nothing is opened."""
    inputs = BundleInputs()
    keys = PolicyKeys(database, directory=key_directory, inputs=inputs)
    publisher = PolicyPublisher(
        database, organizations=organizations, api_keys=api_keys, inputs=inputs
    )
    revocations = Revocations(database, publisher=publisher, inputs=inputs)
    return Policy(
        inputs=inputs,
        resources=PolicyResources(database, organizations=organizations),
        credentials=Credentials(database, records=records, groups=groups),
        publisher=publisher,
        revocations=revocations,
        keys=keys,
        bundles=PolicyBundles(
            database,
            keys=keys,
            organizations=organizations,
            api_keys=api_keys,
            records=records,
            clock=clock,
        ),
        dry_runs=DryRuns(database, records=records, organizations=organizations),
        holdings=PolicyHoldings(revocations=revocations),
        expiry=ProposalExpiry(database, publisher=publisher),
    )
