"""The coordinator: what must be one thing for all workers."""

from __future__ import annotations

from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.options import GatewayOptions


def main(options: GatewayOptions, *, posture: Posture, owner_uid: int | None = None) -> int:
    """Run the gateway until SIGTERM or SIGINT; gives the exit status.

    ``posture`` is what hardening achieved in this process. ``owner_uid`` is the user who started
    ``keylease up``, when that is another one than ours: it may use the control socket too.
    """
    raise NotImplementedError
