"""What a connector is, and what it lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from enum import StrEnum
from typing import TYPE_CHECKING, ClassVar, Protocol

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.strongroom.secrets import Secret

if TYPE_CHECKING:
    from keylease.strongroom.connectors.session import Session


class Ability(StrEnum):
    """What a connector can do at its system."""

    INVENTORY = "inventory"


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One secret as the system lists it."""

    name: str
    container: str
    """Where in the system: a repository, a project, a path."""
    kind: PlaceKind
    environment: str = ""
    provider: str = ""
    """Where the system itself says whose key it is."""
    preview: str = ""
    """What the system shows of the key."""
    owner: str = ""
    """Who put or changed it, in the system's words."""
    created_at: int = 0
    """Microseconds UTC; 0 when the system does not say."""
    changed_at: int = 0


class ListedValue:
    """A listed secret with its value, which the caller asked for. Held in memory only."""

    __slots__ = ("listed", "secret")

    def __init__(self, listed: Listed, secret: Secret) -> None:
        self.listed = listed
        self.secret = secret


class Connector(Protocol):
    """One outside system."""

    system: ClassVar[str]
    """Its name in gateway.toml."""
    title: ClassVar[str]
    origin: ClassVar[str]
    """Scheme and host of its public API; empty when everybody runs their own."""
    vendor: ClassVar[bool]
    """An AI vendor that stores keys, rather than one's own infrastructure."""
    abilities: ClassVar[frozenset[Ability]]

    def authentication(self, secret: Secret) -> dict[str, str]:
        """Headers by which the system knows who asks."""
        ...

    def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Everything that is kept there; with ``values``, also the values it gives out.

        ``account`` names the organization, project or mount. Raises ``ConnectorError``.
        """
        ...
