"""Gathers the facts and makes the trust report and the status of them."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import keylease
from keylease.errors import DatabaseUnavailable
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.trust.gateway_secrets import gateway_secrets, gateway_weaknesses
from keylease.platform.trust.interfaces import (
    Credentials,
    Gateways,
    GatewayTrust,
    Organizations,
    Traces,
    Witnesses,
)
from keylease.platform.trust.platform_secrets import database_weaknesses, platform_secrets
from keylease.platform.trust.report import (
    CredentialTrust,
    HeldSecret,
    PromiseResult,
    Severity,
    Status,
    TrustReport,
    Weakness,
    promise_results,
    status_of,
)
from keylease.platform.trust.trace_secrets import trace_secrets, trace_weaknesses
from keylease.primitives.clock import MICROSECONDS, Clock

SILENT_AFTER: Final = 120 * MICROSECONDS
_MAXIMUM_RESULTS: Final = 256 * 1024
_NOT_ISOLATED: Final = "zones not isolated"


class TrustService:
    """Answers from the actual configuration, at the moment of the question."""

    def __init__(  # noqa: PLR0913 - the domains it asks
        self,
        database: Database,
        *,
        clock: Clock,
        gateways: Gateways,
        credentials: Credentials,
        witnesses: Witnesses,
        organizations: Organizations,
        traces: Traces,
        directory: Path,
        posture: str,
        promises_file: Path | None,
        api_key_days: int,
    ) -> None:
        """``directory`` is the platform's own, where its keys are."""
        self._database = database
        self._clock = clock
        self._gateways = gateways
        self._credentials = credentials
        self._witnesses = witnesses
        self._organizations = organizations
        self._traces = traces
        self._directory = directory
        self._posture = posture
        self._promises_file = promises_file
        self._api_key_days = api_key_days
        self._up_since = clock.now()

    async def report(self, caller: Caller) -> TrustReport:
        """Every kind of secret, every weakness, every promise."""
        gateways = await self._gateways.gateway_trust(caller)
        credentials = await self._credentials.credential_trust(caller)
        witnesses = await self._witnesses.witness_trust(caller)
        references = {one.id: one.reference for one in credentials}
        secrets: list[HeldSecret] = []
        weaknesses = [*self._own_weaknesses(), *database_weaknesses(self._database.url)]
        for gateway in gateways:
            name = f"gateway {gateway.name}"
            secrets += gateway_secrets(name, gateway.report, references)
            weaknesses += gateway_weaknesses(name, gateway.report)
            if self._silent(gateway):
                weaknesses.append(
                    Weakness(
                        severity=Severity.WARNING,
                        what=f"{name} has not been heard of for two minutes.",
                    )
                )
        secrets += platform_secrets(
            directory=str(self._directory),
            isolation=self._posture or "not known",
            database=self._database.url,
            api_key_days=self._api_key_days,
        )
        traces = self._traces.trace_trust(caller.organization_id)
        secrets += trace_secrets(traces, isolation=self._posture or "not known")
        weaknesses += trace_weaknesses(traces)
        for one in credentials:
            if one.overdue:
                weaknesses.append(
                    Weakness(
                        severity=Severity.PROBLEM,
                        what=f"Credential {one.id} is older than its maximum age.",
                        advice="Replace the key in its store.",
                    )
                )
        independent = [one for one in witnesses if one.independent and not one.failed]
        if not independent:
            weaknesses.append(
                Weakness(
                    severity=Severity.WARNING,
                    what="No independent witness has seen the audit log: its tail is not proven "
                    "against whoever runs this server.",
                    advice="Enroll a gateway on another host.",
                )
            )
        return TrustReport(
            made_at=self._clock.now(),
            software=f"keylease {keylease.__version__}",
            trace_store=traces.store,
            secrets=tuple(secrets),
            weaknesses=tuple(weaknesses),
            promises=self._promises(),
        )

    async def status(self) -> Status:
        """Uptime and credential trust of the whole installation; names nothing and nobody."""
        database, trust, log = "ok", CredentialTrust(), "ok"
        try:
            trust, log = await self._numbers()
        except DatabaseUnavailable:
            database = "not reachable"
        return status_of(
            trust,
            up_since=self._up_since,
            database=database,
            audit_log=log,
            trace_store=self._traces.trace_trust().state,
        )

    async def _numbers(self) -> tuple[CredentialTrust, str]:
        total = dict.fromkeys(CredentialTrust.__struct_fields__, 0)
        log = "ok"
        for organization_id in await self._organizations.organization_ids():
            caller = platform_itself(organization_id)
            gateways = await self._gateways.gateway_trust(caller)
            credentials = await self._credentials.credential_trust(caller)
            witnesses = await self._witnesses.witness_trust(caller)
            state = await self._witnesses.log_state(organization_id)
            log = state if log == "ok" else log
            seen = [gateway.report for gateway in gateways if gateway.report is not None]
            total["credentials"] += len(credentials)
            total["unreachable"] += _unreachable({one.id for one in credentials}, gateways)
            total["overdue"] += sum(one.overdue for one in credentials)
            total["gateways"] += len(gateways)
            total["gateways_silent"] += sum(map(self._silent, gateways))
            total["zones_not_isolated"] += sum(not report.isolated for report in seen)
            total["witnesses"] += len(witnesses)
            total["witnesses_dependent"] += sum(not one.independent for one in witnesses)
            total["witnesses_failed"] += sum(one.failed for one in witnesses)
        total["zones_not_isolated"] += _NOT_ISOLATED in self._posture
        return CredentialTrust(**total), log

    def _silent(self, gateway: GatewayTrust) -> bool:
        return gateway.last_seen is None or self._clock.now() - gateway.last_seen > SILENT_AFTER

    def _own_weaknesses(self) -> list[Weakness]:
        if _NOT_ISOLATED not in self._posture and self._posture:
            return []
        return [
            Weakness(
                severity=Severity.PROBLEM,
                what="zones not isolated: the platform shares its user with others.",
                advice="Start it as root, so that it becomes a user of its own, or on a kernel "
                "with Landlock.",
            )
        ]

    def _promises(self) -> tuple[PromiseResult, ...]:
        document = None
        if self._promises_file is not None:
            try:
                with self._promises_file.open("rb") as stream:
                    document = stream.read(_MAXIMUM_RESULTS)
            except OSError:
                document = None  # absent means "not verified", which is what the report says
        return promise_results(document)


def _unreachable(credentials: set[str], gateways: tuple[GatewayTrust, ...]) -> int:
    """Credentials that gateways were asked for and none can have."""
    answers: dict[str, bool] = {}
    for gateway in gateways:
        for one in gateway.report.credentials if gateway.report else ():
            if one.credential_id in credentials:
                answers[one.credential_id] = answers.get(one.credential_id, False) or one.available
    return sum(not available for available in answers.values())
