"""``signing-key``: lease signing keys for a store that the gateway cannot write to.

Writes the stored form to standard output, which the owner pipes into the store:

    python -I -m keylease.strongroom signing-key | bao kv put secret/keylease signing=-

With ``--rotate`` the present form is read from standard input. The keys never touch a file here,
and a terminal is refused as output, because a terminal remembers.
"""

from __future__ import annotations

import io
import sys
from typing import BinaryIO, Final

from keylease.errors import SettingsInvalid
from keylease.primitives.clock import Clock, SystemClock
from keylease.strongroom.leases.keys import SigningKeys
from keylease.strongroom.secrets import Secret

_MAXIMUM_BYTES: Final = 64 * 1024


def main(*, rotate: bool) -> int:
    """Run on the process's own streams; gives the exit status."""
    if sys.stdout.isatty():
        raise SettingsInvalid(
            "Lease signing keys are not written to a terminal.",
            advice="Pipe the output into the secret store.",
        )
    write_keys(sys.stdin.buffer if rotate else None, sys.stdout.buffer, clock=SystemClock())
    return 0


def write_keys(present: BinaryIO | None, out: BinaryIO | io.BytesIO, *, clock: Clock) -> None:
    """Write new keys, or ``present`` ones rotated; raises ``SecretInvalid``."""
    if present is None:
        keys = SigningKeys.generate(clock.now())
    else:
        held = Secret(present.read(_MAXIMUM_BYTES).strip())
        keys = SigningKeys.from_secret(held).rotate(clock.now())
        held.wipe()
    made = keys.to_secret()
    out.write(made.reveal(why="the owner puts the keys into the store"))
    out.flush()
    made.wipe()
