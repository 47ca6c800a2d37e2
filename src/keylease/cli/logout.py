"""`keylease logout`: end the session of this command line."""

from __future__ import annotations

import asyncio

from keylease.cli import output
from keylease.cli.options import ConfigDir, settings_from
from keylease.sdk.platform import StoredSignIns, sign_out


def command(*, config_dir: ConfigDir = None) -> None:
    """Sign out: end the session at the platform, and forget it here."""
    settings = settings_from(data_dir=None, config_dir=config_dir)
    sign_ins = StoredSignIns(settings.config_dir)
    stored = sign_ins.read()
    if stored is None:
        output.say("You are not signed in.")
        return
    # Forgotten here in any case; if the server cannot be told, that is said.
    sign_ins.forget()
    asyncio.run(sign_out(stored))
    output.say(f"Signed out of {stored.server}.")
