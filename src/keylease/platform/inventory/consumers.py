"""Who uses a secret: seen using it, holding its value, or naming it without its value."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec

from keylease.contracts.findings import Location, PlaceKind
from keylease.platform.inventory.names import kubernetes_object


class ConsumerKind(StrEnum):
    """What a consumer is."""

    PRINCIPAL = "principal"
    """Whoever calls through a gateway: a user, a service account, a workload."""
    CI_WORKFLOW = "ci_workflow"
    DEPLOYMENT = "deployment"
    """Of containers, or at a hosting service."""
    CODE = "code"
    """A program that reads the variable."""
    SERVICE = "service"
    """What a machine starts by itself: units of systemd, crontabs."""
    PROCESS = "process"
    TOOL = "tool"
    """An editor, an assistant, an MCP server that one starts."""


class KnownBy(StrEnum):
    """How it is known that a consumer uses a secret, the surest first."""

    SEEN_USING = "seen_using"
    """A gateway recorded calls that were made with it."""
    HOLDS_VALUE = "holds_value"
    """The value itself lies where the consumer is set up."""
    NAMED = "named"
    """The consumer names a variable, and evidence links the name with the secret; the value was
    not seen there."""


class ConsumerPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a consumer was met."""

    id: str
    """Of the location."""
    source: str
    path: str
    line: int = 0
    name: str = ""
    """The variable."""
    removed_at: int | None = None


class Consumer(msgspec.Struct, frozen=True, kw_only=True):
    """One consumer of one secret."""

    id: str
    """The same whenever it is read: a principal, or the kind and a hash of where it is set up."""
    kind: ConsumerKind
    name: str
    """For people: ``.github/workflows/evals.yml, job nightly``."""
    known_by: KnownBy
    evidence: str = ""
    """Why a name is taken for this secret."""
    ambiguous: bool = False
    """What it names may be another secret, too."""
    repository: str = ""
    environment: str = ""
    owner_candidates: tuple[str, ...] = ()
    first_seen: int
    last_seen: int
    removed_at: int | None = None
    """When it was seen not to use the secret any more; microseconds UTC."""
    places: tuple[ConsumerPlace, ...] = ()
    principal: str = ""
    """Of call records, as are the members below; empty for what was not seen using it."""
    credential_id: str = ""
    purpose: str = ""
    first_used: int | None = None
    last_used: int | None = None
    calls: int = 0

    @property
    def words(self) -> str:
        """``CI workflow github.com/acme/app: .github/workflows/evals.yml, job nightly``."""
        where = f"{self.repository}: " if self.repository else ""
        unsure = " (ambiguous)" if self.ambiguous else ""
        return f"{TITLES[self.kind]} {where}{self.name}{unsure}"


TITLES: Final = {
    ConsumerKind.PRINCIPAL: "principal",
    ConsumerKind.CI_WORKFLOW: "CI workflow",
    ConsumerKind.DEPLOYMENT: "deployment",
    ConsumerKind.CODE: "code",
    ConsumerKind.SERVICE: "service",
    ConsumerKind.PROCESS: "process",
    ConsumerKind.TOOL: "tool",
}
_KINDS: Final = {
    PlaceKind.CI_CONFIGURATION: ConsumerKind.CI_WORKFLOW,
    PlaceKind.CONTAINER_CONFIGURATION: ConsumerKind.DEPLOYMENT,
    PlaceKind.KUBERNETES_MANIFEST: ConsumerKind.DEPLOYMENT,
    PlaceKind.KUBERNETES_CLUSTER: ConsumerKind.DEPLOYMENT,
    PlaceKind.TERRAFORM_CODE: ConsumerKind.DEPLOYMENT,
    PlaceKind.DEPLOYMENT_CONFIGURATION: ConsumerKind.DEPLOYMENT,
    PlaceKind.SCHEDULE: ConsumerKind.SERVICE,
    PlaceKind.SERVICE_UNIT: ConsumerKind.SERVICE,
    PlaceKind.PROCESS_ENVIRONMENT: ConsumerKind.PROCESS,
    PlaceKind.EDITOR_CONFIGURATION: ConsumerKind.TOOL,
}
_KEPT: Final = frozenset(
    {
        PlaceKind.CI_SECRET,
        PlaceKind.DEPLOYMENT_SECRET,
        PlaceKind.SECRET_STORE,
        PlaceKind.VENDOR_SECRET,
    }
)


def kind_of(location: Location, *, named: bool) -> ConsumerKind | None:
    """What uses a secret there; ``None`` for a place that only keeps it.

    ``named``: the place has the name and not the value. A file of code that names a variable reads
    it; one that holds the value is a place like every file. Templates of ``.env`` files, profiles
    and package managers' files name what somebody may set, and use nothing.
    """
    if location.in_history_only:
        return None  # it names it no more
    if named and location.kind in {PlaceKind.FILE, PlaceKind.NOTEBOOK_SOURCE}:
        return ConsumerKind.CODE
    thing = kubernetes_object(location)
    if thing is not None and thing.keeps:
        return None
    return _KINDS.get(location.kind)


def keeps(location: Location) -> bool:
    """Whether a name there says that a value is kept under it."""
    if location.in_history_only:
        return False
    thing = kubernetes_object(location)
    return location.kind in _KEPT or (thing is not None and thing.keeps)
