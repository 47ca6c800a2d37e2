"""A worker: serves connections on sockets that its coordinator bound."""

from __future__ import annotations

from collections.abc import Sequence


def main(*, channel_fd: int, listen_fds: Sequence[int]) -> int:
    """Serve until told to drain or until the coordinator is gone; gives the exit status.

    Started by the coordinator as ``python -I -m keylease.strongroom worker --channel-fd N
    --listen-fd N [--listen-fd N ...]``.
    """
    raise NotImplementedError
