"""`keylease run -- CMD`: an unmodified program whose provider SDKs get fresh leases."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.child import Child
from keylease.cli.options import ConfigDir, DataDir, settings_from
from keylease.contracts.purposes import Purpose
from keylease.errors import SettingsInvalid
from keylease.primitives.clock import SystemClock
from keylease.sdk.agent import LoopbackAgent, loopback_socket, new_bearer
from keylease.sdk.control import ControlClient
from keylease.sdk.leases import ControlSocketSource, LeaseSource, LeaseWish
from keylease.sdk.provider_variables import program_environment
from keylease.settings import process_environment
from keylease.strongroom.hardening.process import no_core_dumps, not_dumpable

app = typer.Typer(add_completion=False)


@app.command(context_settings={"allow_interspersed_args": False})
def run(
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
    data_dir: DataDir = None,
    config_dir: ConfigDir = None,
) -> int:
    """Run a program whose provider SDKs talk to the gateway with fresh leases.

    Every other provider key and endpoint is removed from its environment. Signals and the exit
    status are passed on.
    """
    no_core_dumps()
    not_dumpable()
    settings = settings_from(data_dir=data_dir, config_dir=config_dir)
    control = ControlClient(settings.control_socket)
    wish = LeaseWish(purpose=purpose, environment=environment, models=tuple(model or ()))
    # 1. A gateway that is not running, or gives no lease, is said before the program is started.
    url = asyncio.run(_check(control, wish, gateway))
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
    leases = LeaseSource(ControlSocketSource(control.request, wish), clock=SystemClock())
    agent = LoopbackAgent(gateway_url=url, leases=leases, bearer=bearer, on_error=_report)

    async def serve() -> int:
        await agent.start(listener)
        status = await asyncio.get_running_loop().run_in_executor(None, child.wait)
        await agent.close()
        return status

    return asyncio.run(serve())


async def _check(control: ControlClient, wish: LeaseWish, gateway: str | None) -> str:
    await ControlSocketSource(control.request, wish).obtain()
    if gateway is not None:
        return gateway.rstrip("/")
    status = await control.request("status", {})
    urls = status.get("urls")
    if not isinstance(urls, list) or not urls:
        raise SettingsInvalid(
            "The gateway does not say where it listens.", advice="Give its address with --gateway."
        )
    return str(urls[0])


def _report(error: BaseException) -> None:
    output.warn(f"keylease run: {type(error).__name__} while passing a call on")
    sys.stderr.flush()
