"""Which calls of the last day a policy would have refused."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.policy import publications, repository, revocation_rows
from keylease.platform.policy.compiler import PolicyCompiler
from keylease.platform.policy.evaluation import (
    AskedCall,
    PolicyEvaluator,
    Refusal,
    wire_format_of,
)
from keylease.platform.policy.groups import groups_named
from keylease.platform.policy.interfaces import CallRecords, Organizations, RecentCall
from keylease.platform.policy.resources import CredentialContent, PolicyContents
from keylease.primitives.clock import MICROSECONDS

LONGEST_HOURS: Final = 24 * 7
MAXIMUM_ROWS: Final = 50_000
SAMPLES: Final = 5


class RefusedCalls(msgspec.Struct, frozen=True, kw_only=True):
    """Calls that would be refused for one reason."""

    reason: Refusal
    calls: int
    principals: int
    """How many principals made them."""
    samples: tuple[RecentCall, ...]


class DryRun(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy would have said to the calls since ``since``."""

    since: int
    calls: int
    refused: int
    other_credential: int
    """Calls that would be served, but not by a credential they were served by."""
    reasons: tuple[RefusedCalls, ...]
    complete: bool
    """Whether all calls were asked about; the newest come first."""


class DryRuns:
    """Asks a policy about calls that were made."""

    def __init__(
        self, database: Database, *, records: CallRecords, organizations: Organizations
    ) -> None:
        self._database = database
        self._records = records
        self._organizations = organizations

    async def run(self, caller: Caller, *, version: int | None, hours: int = 24) -> DryRun:
        """Ask a published version, or the draft (``None``)."""
        organization_id = caller.organization_id
        async with self._database.reading(caller) as tx:
            state = await repository.read_state(tx, organization_id)
            published = await repository.published_contents(tx, organization_id, state.published)
            draft = await repository.draft_contents(tx, organization_id)
            contents = draft
            if version is not None:
                await publications.find_version(tx, version)
                contents = await repository.published_contents(tx, organization_id, version)
            groups = await groups_named(tx, contents, self._organizations)
            revocations = await revocation_rows.in_force(tx, organization_id)
            since = tx.now - hours * 3600 * MICROSECONDS
            calls = await self._records.recent_calls(
                tx, organization_id, since=since, limit=MAXIMUM_ROWS
            )
        compiler = PolicyCompiler(organization_id)
        compiled = compiler.compile(contents, revocations=revocations, groups=groups)
        evaluator = PolicyEvaluator(compiled)
        return evaluate(evaluator, calls, since=since, credentials=_credentials(draft, published))


def evaluate(
    evaluator: PolicyEvaluator,
    calls: Iterable[RecentCall],
    *,
    since: int,
    credentials: Mapping[str, CredentialContent],
) -> DryRun:
    """Ask about each call; ``credentials`` says which API a call was made by."""
    rows = total = refused = moved = 0
    counts: Counter[Refusal] = Counter()
    principals: defaultdict[Refusal, set[str]] = defaultdict(set)
    samples: defaultdict[Refusal, list[RecentCall]] = defaultdict(list)
    for call in calls:
        rows += 1
        total += call.count
        used = credentials.get(call.credential_id)
        verdict = evaluator.decide(
            AskedCall(
                principal=call.principal,
                model=call.model,
                purpose=call.purpose,
                environment=call.environment,
                wire_format=wire_format_of(used.provider) if used is not None else None,
            )
        )
        if verdict.refusal is None:
            if call.credential_id and call.credential_id not in verdict.credential_ids:
                moved += call.count
            continue
        refused += call.count
        counts[verdict.refusal] += call.count
        principals[verdict.refusal].add(call.principal)
        if len(samples[verdict.refusal]) < SAMPLES:
            samples[verdict.refusal].append(call)
    return DryRun(
        since=since,
        calls=total,
        refused=refused,
        other_credential=moved,
        reasons=tuple(
            RefusedCalls(
                reason=reason,
                calls=count,
                principals=len(principals[reason]),
                samples=tuple(samples[reason]),
            )
            for reason, count in counts.most_common()
        ),
        complete=rows < MAXIMUM_ROWS,
    )


def _credentials(*states: PolicyContents) -> dict[str, CredentialContent]:
    """By identifier; also credentials that only one of the states has."""
    return {name: content for state in states for name, content in state.credentials.items()}
