"""Whether something is still as its reader knows it."""

from __future__ import annotations

from keylease.errors import VersionChanged


def check_version(*, current: int, expected: int) -> None:
    """Raise ``VersionChanged`` unless they are the same."""
    if current != expected:
        raise VersionChanged(
            f"It is at version {current} now; the request changes version {expected}.",
            advice="Read it again and repeat the change.",
        )
