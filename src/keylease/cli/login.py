"""`keylease login`: a session of this command line at the platform, approved in a browser."""

from __future__ import annotations

import asyncio
import webbrowser
from typing import Annotated

import typer

from keylease.cli import output
from keylease.cli.options import ConfigDir, settings_from
from keylease.cli.platform_connection import Server, platform_url
from keylease.errors import ApiProblem, NotSignedIn, ServerUnreachable
from keylease.primitives.clock import SystemClock
from keylease.sdk.platform import DeviceSignIn, StoredSignIn, StoredSignIns, sign_out


def command(
    *,
    server: Server = "",
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")
    ] = True,
    config_dir: ConfigDir = None,
) -> None:
    """Sign in: approve this command line in a browser in which you are signed in."""
    settings = settings_from(data_dir=None, config_dir=config_dir)
    sign_ins = StoredSignIns(settings.config_dir)
    url = platform_url(server, settings, stored=None)
    before = sign_ins.read()
    sign_ins.write(asyncio.run(_signed_in(url, browser=browser)))
    if before is not None:
        _end(before)
    output.say(f"Signed in to {url}. `keylease whoami` says as whom.")


async def _signed_in(url: str, *, browser: bool) -> StoredSignIn:
    sign_in = DeviceSignIn(url, clock=SystemClock())
    codes = await sign_in.begin()
    output.say(f"Open {codes.verification_uri} and enter the code {codes.user_code}")
    if browser and webbrowser.open(codes.verification_uri_complete):
        output.say("(A browser was opened.) Approve only if it shows this very code.")
    return await sign_in.wait(codes)


def _end(before: StoredSignIn) -> None:
    """End the session that was there before; the new one is good whatever comes of it."""
    try:
        asyncio.run(sign_out(before))
    except (ApiProblem, NotSignedIn, ServerUnreachable) as error:
        output.warn(f"The earlier session at {before.server} was not ended: {error.message}")
