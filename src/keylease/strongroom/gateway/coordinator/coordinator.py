"""The coordinator: what must be one thing for all workers.

It owns the listening sockets, the policy, the signing keys, the ledger, the replay cache, the
spools, the secret stores and the control socket. Model calls do not pass through it: it appends
the records that workers encoded, and answers what they cannot answer from memory.

Order at the end: workers drain, then what they reported is made durable.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

import keylease
from keylease.contracts.audit import AuditAction
from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.self_report import SelfReport
from keylease.errors import KeyleaseError
from keylease.primitives.clock import Clock
from keylease.primitives.http1.simple import SimpleServer, serve
from keylease.primitives.segments import WhenFull
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.data_directory import DataDirectory
from keylease.strongroom.gateway import messages
from keylease.strongroom.gateway.coordinator import sockets
from keylease.strongroom.gateway.coordinator.batch_desk import BatchDesk
from keylease.strongroom.gateway.coordinator.call_lists import CallLists
from keylease.strongroom.gateway.coordinator.control import ControlServer
from keylease.strongroom.gateway.coordinator.control_operations import ControlOperations
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialDesk
from keylease.strongroom.gateway.coordinator.enforcement import Enforcement
from keylease.strongroom.gateway.coordinator.lease_desk import LeaseDesk
from keylease.strongroom.gateway.coordinator.ledger_keeper import LedgerKeeper
from keylease.strongroom.gateway.coordinator.log import Log
from keylease.strongroom.gateway.coordinator.object_registry import ObjectRegistry
from keylease.strongroom.gateway.coordinator.platform_desk import PlatformDesk
from keylease.strongroom.gateway.coordinator.policy_desk import PolicyDesk
from keylease.strongroom.gateway.coordinator.policy_keeper import PolicyKeeper
from keylease.strongroom.gateway.coordinator.policy_source import PolicySource
from keylease.strongroom.gateway.coordinator.questions import Questions
from keylease.strongroom.gateway.coordinator.surroundings import Surroundings
from keylease.strongroom.gateway.coordinator.worker_group import RunningWorker, WorkerGroup
from keylease.strongroom.gateway.defects import place_of
from keylease.strongroom.gateway.interfaces import LimitKey
from keylease.strongroom.gateway.records.audit_spool import AuditSpool
from keylease.strongroom.gateway.records.metrics import CallMetrics
from keylease.strongroom.gateway.records.metrics_page import MetricsPage
from keylease.strongroom.gateway.records.otlp import OtlpExporter
from keylease.strongroom.gateway.records.spool import CallSpool
from keylease.strongroom.gateway.self_description import self_report
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.hardening.weaknesses import weaknesses_of_policy
from keylease.strongroom.leases.exchange import TokenExchange
from keylease.strongroom.leases.issue import LeaseIssuer
from keylease.strongroom.leases.issuers import IssuerDirectory
from keylease.strongroom.leases.key_source import SigningKeySource
from keylease.strongroom.leases.replay import ReplayCache
from keylease.strongroom.leases.revocation_store import RevocationStore
from keylease.strongroom.leases.sender_proof import SenderProof
from keylease.strongroom.leases.trace_tokens import TraceTokenIssuer
from keylease.strongroom.leases.trust import SubjectVerifier
from keylease.strongroom.options import ReadyMessage
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.registry import StoreRegistry, build_stores

_PAUSE_AFTER_DEFECT: Final = 5.0


class Coordinator:
    """Everything of one gateway but its calls."""

    def __init__(  # noqa: PLR0913 - what a process was started with, by keyword
        self,
        *,
        configuration: GatewayConfiguration,
        directory: DataDirectory,
        listeners: list[socket.socket],
        metrics: list[socket.socket],
        environment: dict[str, Secret],
        posture: Posture,
        uids: frozenset[int],
        log: Log,
        clock: Clock,
    ) -> None:
        """Must be made where an event loop runs. Raises ``StorageError`` and the like."""
        self.configuration = configuration
        self.directory = directory
        self.clock = clock
        self.started_at = clock.now()
        self.log = log
        self._listeners = listeners
        self._metrics_sockets = metrics
        self._uids = uids
        self._posture = posture
        self._environment = environment

        self.tasks = TaskOwner(self._defect)
        self.metrics = CallMetrics()
        self.echoes = 0
        self.workers: WorkerGroup
        self.desk: LeaseDesk
        self.credentials: CredentialDesk
        self.exporter: OtlpExporter | None = None
        home = directory.strongroom
        self.audit = AuditSpool(
            home / "audit", clock=clock, organization_id=directory.organization_id
        )
        self.platform: PlatformDesk | None = None
        if configuration.platform is not None:
            self.platform = PlatformDesk(configuration, home, clock=clock, log=log)
        self.policy: PolicySource = (
            self.platform.policy
            if self.platform is not None
            else PolicyKeeper(
                Path(configuration.policy_file),
                directory=home,
                organization_id=directory.organization_id,
                clock=clock,
            )
        )
        delivers = self.platform is not None or bool(configuration.spool.otlp_endpoint)
        self.spool = CallSpool(
            home / "calls",
            maximum_bytes=configuration.spool.maximum_bytes,
            when_full=WhenFull.REFUSE if delivers else WhenFull.DROP_OLDEST,
            on_state=self._spool_changed,
        )
        self.ledger = LedgerKeeper(home / "ledger", clock=clock, recall=self._recall)
        self.objects = ObjectRegistry(home / "objects", clock=clock)
        self.enforcement = Enforcement(
            configuration=configuration,
            policy=self.policy,
            parts=self,
            log=log,
        )
        self.policies = PolicyDesk(
            self.policy, enforcement=self.enforcement, audit=self.audit, log=log
        )

    def _self_report(self) -> SelfReport:
        return self_report(
            self.configuration,
            self._posture,
            credentials=self.policy.bundle.credentials if self.policy.in_force else (),
            states=self.credentials.states() if self.policy.in_force else {},
            audit_entries_waiting=self.audit.waiting,
            directory=self.directory.strongroom,
            clock=self.clock,
        )

    # --- start and end ---------------------------------------------------------------------

    async def start(self) -> ReadyMessage:
        """Start everything; the gateway takes calls when this returns."""
        for notice in (*self.audit.notices, *self.spool.log.notices, *self.ledger.notices):
            self.log.warning("storage_repaired", message=notice)
        self.policy.load()
        if self.platform is not None:
            self.platform.open(
                spool=self.spool,
                audit=self.audit,
                policies=self.policies,
                about=self._self_report,
            )
        stores = self._open_stores()
        await self._open_leases(stores)
        await self.audit.write(
            AuditAction.GATEWAY_STARTED,
            details={"version": keylease.__version__, "group": self.configuration.group},
        )
        if self.policy.in_force:
            await self.policies.write_loaded()
        self._start_workers()
        self.ledger.workers = self.configuration.workers
        await self.workers.start(self.configuration.workers)
        await self._open_control()
        metrics_url = await self._open_metrics()
        self._open_exporter()
        if self.platform is not None:
            self.tasks.start(self._keep_running(self.platform.run), name="platform link")
        self.tasks.start(self._surroundings.run(), name="look-around")
        self.tasks.start(self._warm_prices(), name="warm-prices")
        posture = self.posture()
        self.log.info("gateway_ready", urls=" ".join(self.urls), posture=posture.in_words())
        return ReadyMessage(
            urls=self.urls,
            metrics_url=metrics_url,
            control_socket=str(self.directory.control_socket),
            posture=posture.in_words(),
        )

    @property
    def urls(self) -> tuple[str, ...]:
        """How clients on this machine reach the listeners."""
        secure = bool(self.configuration.tls_certificate_file)
        return tuple(sockets.base_url(listener, secure=secure) for listener in self._listeners)

    def _open_stores(self) -> StoreRegistry:
        stores = build_stores(
            self.configuration.stores,
            data_directory=self.directory.path,
            environment=self._environment,
            clock=self.clock,
            config_directory=Path(self.configuration.path).parent,
        )
        self._environment = {}
        self._stores = stores
        self.credentials = CredentialDesk(
            stores,
            configuration=self.configuration,
            policy=lambda: self.policy.bundle,
            audit=self.audit,
            clock=self.clock,
            on_change=self.enforcement.readiness_changed,
            on_secret=self.platform.secret_fetched if self.platform is not None else None,
        )
        return stores

    async def _open_leases(self, stores: StoreRegistry) -> None:
        source = SigningKeySource(
            self.configuration.signing_key,
            fetch=stores.fetch,
            sealer=stores.sealed,
            clock=self.clock,
        )
        keys = await source.open()
        issuer = LeaseIssuer(keys, self.configuration, self.clock)
        home = self.directory.strongroom
        self._revocation_store = RevocationStore(home, clock=self.clock)
        self._replay = ReplayCache(home, clock=self.clock)
        self._issuers = IssuerDirectory(self.configuration.trusted_issuers, clock=self.clock)
        self.desk = LeaseDesk(
            keys=keys,
            source=source,
            issuer=issuer,
            store=self._revocation_store,
            policy=lambda: self.policy.bundle,
            audit=self.audit,
            clock=self.clock,
            put_in_force=self.enforcement.put_in_force,
        )
        exchange = TokenExchange(
            subjects=SubjectVerifier(self._issuers, clock=self.clock),
            replay=self._replay,
            issuer=issuer,
            proofs=SenderProof(self.clock),
            policy=lambda: self.policy.bundle,
            audit=self.desk.write,
            endpoint_urls=self._token_urls(),
            clock=self.clock,
            trace_tokens=self._trace_tokens(),
        )
        batches = BatchDesk(objects=self.objects, ledger=self.ledger, log=self.log)
        await batches.finish()
        self._questions = Questions(
            ledger=self.ledger,
            credentials=self.credentials,
            objects=self.objects,
            batches=batches,
            exchange=exchange,
            static_keys=self.configuration.static_keys,
            clock=self.clock,
        )
        self._surroundings = Surroundings(
            look_at_policy=self._look_at_policy,
            credentials=self.credentials,
            leases=self.desk,
            exchange=exchange,
            enforcement=self.enforcement,
            clock=self.clock,
            log=self.log,
            on_defect=self._defect,
        )

    def _trace_tokens(self) -> TraceTokenIssuer | None:
        if self.platform is None:
            return None
        return TraceTokenIssuer(
            keys=lambda: self.desk.keys,
            revocations=self.desk.revocations,
            policy=lambda: self.policy.bundle,
            identity=self.platform.identity,
            configuration=self.configuration,
            clock=self.clock,
        )

    def _token_urls(self) -> tuple[str, ...]:
        urls = [f"{url}/oauth/token" for url in (*self.urls, *self.configuration.public_urls)]
        local = [url.replace("://127.0.0.1:", "://localhost:") for url in urls]
        return tuple(dict.fromkeys([*urls, *local]))

    def _start_workers(self) -> None:
        files = (
            self.configuration.tls_certificate_file,
            self.configuration.tls_key_file,
            self.configuration.tls_client_ca_file,
            self.configuration.upstream_ca_file,
        )
        self.workers = self.enforcement.workers = WorkerGroup(
            listeners=self._listeners,
            readable=[path for path in files if path],
            begin=self.enforcement.begin,
            on_message=self._received,
            on_block=self.spool.append,
            on_gone=self._worker_gone,
            clock=self.clock,
            log=self.log,
        )

    async def _open_control(self) -> None:
        operations = ControlOperations(self, CallLists(self.spool))
        self._control = ControlServer(
            self.directory.control_socket,
            operations=operations.operations,
            streams=operations.streams,
            allowed_uids=self._uids,
            log=self.log,
        )
        await self._control.start()

    async def _open_metrics(self) -> str:
        page = MetricsPage(self)
        self._metrics_servers: list[SimpleServer] = [
            await serve(page.serve, sock=listener, on_error=self._defect)
            for listener in self._metrics_sockets
        ]
        if not self._metrics_sockets:
            return ""
        return f"{sockets.base_url(self._metrics_sockets[0], secure=False)}/metrics"

    def _open_exporter(self) -> None:
        if not self.configuration.spool.otlp_endpoint:
            return
        self.exporter = OtlpExporter(
            self.spool,
            settings=self.configuration.spool,
            directory=self.directory.strongroom,
            group=self.configuration.group,
            organization_id=self.audit.organization_id,
            ca_file=self.configuration.upstream_ca_file,
            clock=self.clock,
            log=self.log,
        )
        self.tasks.start(self._keep_running(self.exporter.run), name="export")

    async def _keep_running(self, run: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await run()
            except Exception as error:  # noqa: BLE001 - a defect must not end the work
                self._defect(error)
                await asyncio.sleep(_PAUSE_AFTER_DEFECT)

    async def stop(self) -> None:
        """Drain and close, each part whatever happens to the others."""
        if hasattr(self, "_control"):
            await self._ended("control", self._control.close())
        for listener in self._listeners:  # new connections are refused from here on
            listener.close()
        if hasattr(self, "workers"):
            seconds = self.configuration.limits.drain_seconds
            await self._ended("workers", self.workers.drain(seconds))
        await self._ended("tasks", self.tasks.close())
        if self.exporter is not None:
            await self._ended("export", self.exporter.close())
        for server in getattr(self, "_metrics_servers", []):
            await self._ended("metrics", server.close(drain_seconds=0.2))
        await self._ended("spool", self.spool.close())
        if self.spool.lost:
            self.log.error("call_records_lost", records=self.spool.lost)
        await self._ended("ledger", self.ledger.close())
        await self._ended("objects", self.objects.close())
        if hasattr(self, "credentials"):
            await self._ended("credentials", self.credentials.close())
            await self._ended("stores", self._stores.close())
        if hasattr(self, "desk"):
            await self._ended("issuers", self._issuers.close())
            self._revocation_store.close()
            self._replay.close()
            await self._surroundings.count_refusals(at_once=True)
            await self._ended("audit entry", self.audit.write(AuditAction.GATEWAY_STOPPED))
        await self._ended("audit", self.audit.close())
        for listener in self._metrics_sockets:
            listener.close()

    async def _ended(self, part: str, ending: Coroutine[Any, Any, None]) -> None:
        try:
            await ending
        except Exception as error:  # noqa: BLE001 - the other parts have to be closed all the same
            self.log.warning("not_closed", part=part, error=type(error).__name__)

    def _defect(self, error: BaseException) -> None:
        self.log.error("defect", error=type(error).__name__, place=place_of(error))

    # --- policy ----------------------------------------------------------------------------

    def _spool_changed(self, error: KeyleaseError | None) -> None:
        self.enforcement.spool_changed(error)

    def reload_soon(self) -> None:
        """Read the policy again; for signals."""
        self.tasks.start(self.policies.reload_quietly(), name="reload")

    async def _look_at_policy(self) -> None:
        if self.policy.file_changed():
            await self.policies.reload_quietly()
            if self.platform is not None:
                self.platform.enrolment_changed()
        if self.platform is not None and self.platform.policy.expire():
            await self.policies.expired()

    # --- what workers say ------------------------------------------------------------------

    def _recall(self, worker: int, order: int, keys: tuple[LimitKey, ...]) -> None:
        for running in self.workers.running:
            if running.number == worker:
                running.send(messages.RecallSlices(order, keys))

    def _received(self, worker: RunningWorker, message: messages.ToCoordinator) -> None:
        match message:
            case messages.SliceReport(uses, order):
                self.ledger.report(worker.number, uses, order=order)
            case messages.CallCounts(counts):
                self.metrics.add(counts)
            case messages.RevocationsInForce():
                self.tasks.start(self.enforcement.note_confirmed(), name="confirmed")
            case messages.Problem(error, place):
                self.log.error("worker_defect", worker=worker.number, error=error, place=place)
            case messages.CredentialEchoed(credential_id, request_id):
                self.echoes += 1
                self.log.error("credential_echoed", credential=credential_id, request=request_id)
                self.tasks.start(
                    self.audit.write(
                        AuditAction.CREDENTIAL_ECHOED,
                        subject=credential_id,
                        details={"request_id": request_id},
                    ),
                    name="echo",
                )
            case messages.Serving() | messages.Drained():
                pass
            case _:
                self.tasks.start(self._questions.answer(worker, message), name="answer")

    async def _warm_prices(self) -> None:
        """Load the price table before a call needs it, if one ever will: it takes 50 MB."""
        providers = {credential.provider for credential in self.policy.bundle.credentials}
        if any(CATALOGUE[name].price_provider for name in providers if name in CATALOGUE):
            await self._questions.price("openai", "gpt-4o-mini")

    def _worker_gone(self, worker: RunningWorker) -> None:
        self.ledger.worker_lost(worker.number)
        self.tasks.start(self.enforcement.note_confirmed(), name="confirmed")

    # --- views -----------------------------------------------------------------------------

    def posture(self) -> Posture:
        """Protections of this process, and what configuration, policy and stores leave open."""
        return Posture(
            measures=self._posture.measures,
            warnings=(
                *self._posture.warnings,
                *weaknesses_of_policy(self.policy.bundle),
                *self._stores.posture(),
                *self.credentials.weaknesses(),
            ),
        )
