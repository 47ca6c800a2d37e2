"""Reads keylease.toml, the local policy, into a policy bundle."""

from __future__ import annotations

from pathlib import Path

from keylease.contracts.policy import PolicyBundle


def load_policy(path: Path, *, organization_id: str, version: int, now: int) -> PolicyBundle:
    """Read keylease.toml; raises ``PolicyFileInvalid`` with every mistake in it.

    ``now`` is in microseconds UTC and becomes ``issued_at``.
    """
    raise NotImplementedError
