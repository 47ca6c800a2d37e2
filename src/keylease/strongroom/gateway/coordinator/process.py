"""The process of a coordinator: what it is started with, and until when it runs.

Order at the start: configuration, data directory, ports, then everything else; the ready message
is the last step. ``coordinator`` is what runs in between.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from keylease.primitives.clock import SystemClock
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.data_directory import open_data_directory
from keylease.strongroom.gateway.coordinator import sockets
from keylease.strongroom.gateway.coordinator.coordinator import Coordinator
from keylease.strongroom.gateway.coordinator.log import make_log
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.options import GatewayOptions
from keylease.strongroom.startup import with_port
from keylease.strongroom.stores import env


def main(options: GatewayOptions, *, posture: Posture, owner_uid: int | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; gives the exit status.

    ``posture`` is what hardening achieved in this process. ``owner_uid`` is the user who started
    ``keylease up``, when that is another one than ours: it may use the control socket too.
    """
    if options.ready is not None:
        os.set_inheritable(options.ready, False)  # noqa: FBT003 - the signature of the library
    clock = SystemClock()
    configuration = with_port(load_gateway(Path(options.gateway_file)), options.port)
    environment = env.receive(options.handover) if options.handover is not None else {}
    with open_data_directory(Path(options.data_directory), clock=clock) as directory:
        listeners = sockets.bind_all(configuration.listen)
        metrics = sockets.bind_all((configuration.metrics,) if configuration.metrics else ())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(
                _run(
                    configuration=configuration,
                    directory=directory,
                    listeners=listeners,
                    metrics=metrics,
                    environment=environment,
                    posture=posture,
                    uids=frozenset({0, os.geteuid()} | ({owner_uid} if owner_uid else set())),
                    ready=options.ready,
                    log=make_log(
                        gateway=configuration.group,
                        level=options.log_level,
                        form=options.log_format,
                    ),
                    clock=clock,
                )
            )


async def _run(*, ready: int | None, **parts: Any) -> int:  # noqa: ANN401 - passed through by name
    coordinator = Coordinator(**parts)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, lambda: None)  # too early: nothing is loaded yet
    try:
        message = await coordinator.start()
        loop.add_signal_handler(signal.SIGHUP, coordinator.reload_soon)
        if ready is not None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(ready, "wb") as pipe:
                pipe.write(msgspec.json.encode(message) + b"\n")
        await stop.wait()
    finally:
        await coordinator.stop()
    return 0
