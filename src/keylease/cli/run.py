"""`keylease run -- CMD`: an unmodified program whose provider SDKs get fresh leases."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from keylease.cli import output
from keylease.cli.child import Child
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.contracts.purposes import Purpose
from keylease.errors import GatewayNotRunning
from keylease.primitives.clock import MICROSECONDS, SystemClock
from keylease.primitives.confinement.process import no_core_dumps, not_dumpable
from keylease.sdk.agent import LoopbackAgent, loopback_socket, new_bearer
from keylease.sdk.control import ControlClient
from keylease.sdk.leases import (
    ControlRequest,
    ControlSocketSource,
    LeaseSource,
    LeaseWish,
    Source,
    TokenExchangeSource,
)
from keylease.sdk.platform import StoredSignIns, authorization, identity_tokens
from keylease.sdk.provider_variables import program_environment
from keylease.settings import Settings, process_environment

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_interspersed_args": False})
def run(  # noqa: PLR0913 - one parameter per option of the command
    command: Annotated[list[str], typer.Argument(metavar="-- CMD [ARG]...", show_default=False)],
    *,
    purpose: Annotated[Purpose, typer.Option(help="What the calls are for.")] = Purpose.DEVELOPMENT,
    environment: Annotated[
        str, typer.Option(metavar="NAME", help="Where the calls are made.")
    ] = "local",
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATTERN",
            help="Allow these models only; may be given more than once.",
            show_default=False,
        ),
    ] = None,
    gateway: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="The gateway's address; asked of it by default.", show_default=False
        ),
    ] = None,
    gateway_group: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="With `keylease login`: the group of a gateway elsewhere."
        ),
    ] = "local",
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Run a program whose provider SDKs talk to the gateway with fresh leases.

    Leases come from the gateway on this machine. Where there is none, --gateway names one
    elsewhere, and `keylease login` says who asks for leases.

    Every other provider key and endpoint is removed from its environment. Signals and the exit
    status are passed on.
    """
    no_core_dumps()
    not_dumpable()
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    wish = LeaseWish(purpose=purpose, environment=environment, models=tuple(model or ()))
    # 1. A gateway that is not running, or gives no lease, is said before the program is started.
    source, url = _source(settings, wish, gateway=gateway, gateway_group=gateway_group)
    # 2. The program is forked while there is one thread; its first connections wait in the queue.
    listener = loopback_socket()
    bearer = new_bearer()
    child = Child(
        command,
        program_environment(
            process_environment(),
            origin=f"http://127.0.0.1:{listener.getsockname()[1]}",
            bearer=bearer,
        ),
    )
    # 3. The agent serves until the program ends.
    leases = LeaseSource(source, clock=SystemClock())
    agent = LoopbackAgent(gateway_url=url, leases=leases, bearer=bearer, on_error=_report)

    async def serve() -> int:
        await agent.start(listener)
        status = await asyncio.get_running_loop().run_in_executor(None, child.wait)
        await agent.close()
        return status

    return asyncio.run(serve())


def _source(
    settings: Settings, wish: LeaseWish, *, gateway: str | None, gateway_group: str
) -> tuple[Source, str]:
    """Where leases come from, and the gateway's address. Raises what keeps a lease away."""
    signed_in = StoredSignIns(settings.config_dir).read()
    try:
        with ControlClient(settings.data_dir) as control:
            control.call("lease.create", **msgspec.to_builtins(wish))
            url = (gateway or str(control.call("status")["urls"][0])).rstrip("/")
    except GatewayNotRunning:
        if gateway is None or signed_in is None:
            raise
        tokens = identity_tokens(
            signed_in.server,
            authorization(signed_in.server, api_key="", stored=signed_in),
            gateway_group=gateway_group,
        )
        exchange = TokenExchangeSource(gateway, subject_token=tokens, wish=wish)
        asyncio.run(exchange.obtain())
        return exchange, gateway.rstrip("/")
    return ControlSocketSource(_asker(settings.data_dir), wish), url


def _asker(data_directory: Path) -> ControlRequest:
    """The control client for a loop: each question in a thread, on a connection of its own."""

    def ask(operation: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        with ControlClient(data_directory) as control:
            result: dict[str, Any] = control.call(operation, **arguments)
        # The gateway says when a lease ends; the lease source counts from now.
        remaining = (result["expires_at"] - SystemClock().now()) / MICROSECONDS
        return {**result, "expires_in": remaining}

    async def request(operation: str, arguments: Mapping[str, object]) -> Mapping[str, object]:
        return await asyncio.to_thread(ask, operation, arguments)

    return request


def _report(error: BaseException) -> None:
    output.warn(f"keylease run: {type(error).__name__} while passing a call on")
    sys.stderr.flush()
