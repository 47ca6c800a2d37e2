"""Where the policy comes from: a file (``PolicyKeeper``) or a platform (``PlatformPolicy``)."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from keylease.contracts.policy import PolicyBundle

NOTHING: Final = PolicyBundle(organization_id="", version=0, issued_at=0)
"""A policy that allows nothing: what is decided by while there is none."""


class PolicyStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say about the policy."""

    source: str = "file"
    """``file`` or ``platform``."""
    path: str
    """Of the file, or the platform's address."""
    version: int
    loaded_at: int
    """Microseconds UTC."""
    expires_at: int = 0
    """Microseconds UTC after which it is not served any more; 0 for a file."""
    credentials: int
    routes: int
    grants: int
    error: str = ""
    """Why what is there now is not in force."""
    error_at: int = 0


class PolicySource(Protocol):
    """What a coordinator asks."""

    @property
    def bundle(self) -> PolicyBundle:
        """The policy in force; ``NOTHING`` for some organization when there is none."""
        ...

    @property
    def in_force(self) -> bool:
        """Whether there is a policy that may be served."""
        ...

    @property
    def status(self) -> PolicyStatus:
        """For people."""
        ...

    def load(self) -> bool:
        """Read what is on the disk; true when the policy in force is another one now."""
        ...

    def file_changed(self) -> bool:
        """Whether what is on the disk should be read again."""
        ...
