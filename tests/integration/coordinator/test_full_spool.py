"""A spool at its bound, with a collector that does not come: no calls, until it comes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.integration.coordinator.conftest import StartGateway
from tests.support.gateway_kit import RunningGateway
from tests.support.ports import free_port

from keylease.primitives.http1.simple import Request, Response, serve

LARGE = [{"role": "user", "content": "lorem ipsum dolor " * 3_000}]


@contextmanager
def collector(port: int) -> Iterator[list[int]]:
    """Takes everything; gives the number of spans of each batch."""
    batches: list[int] = []
    stopping = asyncio.Event()
    started: Future[asyncio.AbstractEventLoop] = Future()

    async def handle(request: Request) -> Response:
        export = ExportTraceServiceRequest.FromString(request.body)
        batches.append(sum(len(s.spans) for r in export.resource_spans for s in r.scope_spans))
        return Response(200)

    async def run() -> None:
        server = await serve(handle, port=port)
        started.set_result(asyncio.get_running_loop())
        await stopping.wait()
        await server.close(drain_seconds=0.1)

    thread = threading.Thread(target=asyncio.run, args=(run(),), daemon=True)
    thread.start()
    loop = started.result(timeout=10)
    try:
        yield batches
    finally:
        loop.call_soon_threadsafe(stopping.set)
        thread.join(timeout=10)


def fill(gateway: RunningGateway, lease: str) -> tuple[int, int]:
    """Call with large prompts until calls are refused; how many were answered, and the refusal."""
    for answered in range(200):
        status = gateway.chat_anew(lease, messages=LARGE).status_code
        if status != 200:
            return answered, status
        time.sleep(0.06)  # longer than a record takes to be written or refused
    raise AssertionError("the spool never filled")


@pytest.mark.parametrize("workers", [1, 2])
def test_calls_are_refused_while_the_spool_is_full(start: StartGateway, workers: int) -> None:
    port = free_port()
    gateway = start(
        workers=workers,
        limits='content = "masked"',
        spool=f"""
maximum_size = "1 MiB"
otlp_endpoint = "http://127.0.0.1:{port}"
otlp_allow_private_address = true
""",
    )
    lease = gateway.lease()
    answered, status = fill(gateway, lease)
    assert status == 503
    assert answered > 3
    for _ in range(4):
        assert gateway.chat_anew(lease).status_code == 503
    assert gateway.client.get(f"{gateway.url}/readyz").status_code == 200
    assert not gateway.control("status")["spool"]["writable"]
    assert "keylease_spool_writable 0" in gateway.client.get(gateway.ready.metrics_url).text
    with collector(port) as batches:
        deadline = time.monotonic() + 90
        while gateway.chat_anew(lease).status_code != 200:
            assert time.monotonic() < deadline, "calls are still refused"
            time.sleep(0.1)
        while sum(batches) < answered + 1:
            assert time.monotonic() < deadline, f"{sum(batches)} of {answered + 1} were exported"
            time.sleep(0.1)
    status_now = gateway.control("status")
    assert status_now["spool"]["lost"] == 0
    assert status_now["spool"]["writable"]


def test_a_policy_may_say_that_calls_go_on(start: StartGateway) -> None:
    gateway = start(
        limits='content = "masked"',
        spool=f"""
maximum_size = "1 MiB"
otlp_endpoint = "http://127.0.0.1:{free_port()}"
otlp_allow_private_address = true
""",
    )
    lease = gateway.lease()
    assert fill(gateway, lease)[1] == 503
    gateway.files.write_policy(top="serve_when_spool_full = true")
    gateway.control("policy.reload")
    assert gateway.chat_anew(lease).status_code == 200
