"""The metrics page: calls as the workers report them, and the state of the gateway.

Served on a listener of its own, on loopback unless gateway.toml says otherwise.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from keylease.primitives.http1.simple import Request, Response
from keylease.strongroom.gateway.records.metrics import CONTENT_TYPE, counter, gauge

if TYPE_CHECKING:
    from keylease.strongroom.gateway.coordinator.coordinator import Coordinator


class MetricsPage:
    """Bound to one coordinator."""

    def __init__(self, coordinator: Coordinator) -> None:
        self._coordinator = coordinator

    async def serve(self, request: Request) -> Response:
        """Answer ``GET /metrics``."""
        if request.path != "/metrics":
            return Response(404, body=b"The metrics are at /metrics.\n")
        if request.method not in ("GET", "HEAD"):
            return Response(405, headers=[("allow", "GET")])
        lines = (*self._coordinator.metrics.lines(), *self._credentials(), *self._gauges())
        body = "\n".join((*lines, *self._counters(), *self._export())) + "\n"
        return Response(200, headers=[("content-type", CONTENT_TYPE)], body=body.encode())

    def _credentials(self) -> list[str]:
        bundle = self._coordinator.policy.bundle
        names = {credential.id: credential.name for credential in bundle.credentials}
        return gauge(
            "keylease_credential_available",
            "1 when the last fetch of the credential went well, 0 when it failed.",
            {
                (("credential", names[identifier]),): float(state.state == "available")
                for identifier, state in self._coordinator.credentials.states().items()
                if state.state != "unused"
            },
        )

    def _gauges(self) -> list[str]:
        coordinator = self._coordinator
        serving = sum(worker.serving.is_set() for worker in coordinator.workers.running)
        values: tuple[tuple[str, str, float], ...] = (
            ("policy_version", "Version of the policy in force.",
             coordinator.policy.bundle.version),
            ("workers", "Workers that serve.", serving),
            ("spool_bytes", "Size of the spool of call records.",
             coordinator.spool.log.total_bytes),
            ("spool_writable", "0 while call records cannot be written.",
             int(coordinator.spool.writable)),
            ("audit_bytes", "Size of the audit spool.", coordinator.audit.total_bytes),
        )  # fmt: skip
        lines: list[str] = []
        for name, text, value in values:
            lines += gauge(f"keylease_{name}", text, {(): value})
        return lines

    def _counters(self) -> list[str]:
        coordinator = self._coordinator
        values: tuple[tuple[str, str, float], ...] = (
            ("worker_restarts_total", "Workers that were started again.",
             coordinator.workers.restarts),
            ("spool_lost_total", "Call records that fitted nowhere.", coordinator.spool.lost),
            ("credential_echoes_total", "Answers that held the credential.",
             coordinator.echoes),
            ("coordinator_cpu_seconds_total", "CPU time of the coordinator.",
             time.process_time()),
        )  # fmt: skip
        lines: list[str] = []
        for name, text, value in values:
            lines += counter(f"keylease_{name}", text, value)
        return lines

    def _export(self) -> list[str]:
        if self._coordinator.exporter is None:
            return []
        state = self._coordinator.exporter.state
        return [
            *counter("keylease_exported_total", "Call records exported.", state.exported),
            *counter("keylease_set_aside_total", "Records the collector refused.", state.set_aside),
            *gauge("keylease_export_behind_bytes", "Still to export.", {(): state.behind_bytes}),
        ]
