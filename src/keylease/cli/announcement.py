"""What a person sees when the product is up."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from keylease.cli.charges import Plan
from keylease.platform.server.configuration import ServerReady
from keylease.strongroom.options import ReadyMessage


def announcement(
    plan: Plan,
    gateway: ReadyMessage,
    *,
    server: ServerReady | None = None,
    usable: tuple[str, ...] | None,
) -> list[str]:
    """Where everything is, and what to do next.

    ``usable`` names the credentials that can be had now; ``None`` when that is not known yet.
    """
    lines = [
        "Keylease is running.",
        *(f"  gateway  {address}" for address in gateway.urls),
        f"  metrics  {gateway.metrics_url or 'off'}",
        f"  server   {server.url}" if server else f"  policy   {plan.policy_file}",
        f"  bounds   {plan.gateway_file}",
        f"  data     {plan.data_directory}",
        gateway.posture,
        *([server.posture] if server and server.posture else []),
        "",
    ]
    if server and server.sign_in_link:
        lines += [
            "Nobody has set up a way to sign in yet. This link works once, for the owner:",
            f"  {server.sign_in_link}",
            "",
        ]
    next_steps = _with_server if server else _alone
    return [*lines, *next_steps(plan, gateway, usable), "Ctrl-C stops it."]


def _alone(plan: Plan, gateway: ReadyMessage, usable: tuple[str, ...] | None) -> list[str]:
    name = command_name()
    if usable == ():
        return [
            "No provider key is configured yet. Either",
            f"  - see a first call without one, in another terminal:  {name} demo",
            f"  - put a key into the sealed store:  {name} secret put openai",
            f"  - or say in {plan.policy_file} where yours lives.",
        ]
    return [*_usable(usable), *_first_call(gateway)]


def _with_server(_: Plan, gateway: ReadyMessage, usable: tuple[str, ...] | None) -> list[str]:
    name = command_name()
    if usable == ():
        return [
            "No provider key can be used yet. Either",
            f"  - see a first call without one, in another terminal:  {name} demo",
            f"  - put a key into the sealed store:  {name} secret put openai",
            f"  - or say where yours lives:  {name} login, then  {name} credential add",
        ]
    return [*_usable(usable), *_first_call(gateway)]


def _usable(usable: tuple[str, ...] | None) -> list[str]:
    return [f"Credentials that can be used now: {', '.join(usable)}.", ""] if usable else []


def _first_call(gateway: ReadyMessage) -> list[str]:
    name = command_name()
    return [
        "A first call, in another terminal:",
        f"  {name} run -- python your_program.py",
        "or with any client of the provider's API:",
        f"  export OPENAI_BASE_URL={gateway.urls[0]}/v1",
        f'  export OPENAI_API_KEY="$({name} lease create)"',
    ]


def command_name() -> str:
    """How a person types the command here: by its name when the path has it."""
    if shutil.which("keylease"):
        return "keylease"
    command = Path(sys.prefix) / "bin" / "keylease"
    return str(command.relative_to(Path.cwd()) if command.is_relative_to(Path.cwd()) else command)
