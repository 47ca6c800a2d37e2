"""The inventory as a graph: credential - location - consumer - owner - vendor."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from keylease.platform.inventory.consumers import Consumer, KnownBy
from keylease.platform.inventory.records import Sighting, Vendor


class Node(msgspec.Struct, frozen=True, order=True):
    """A thing. ``id`` begins with its kind."""

    id: str
    kind: str
    """``secret``, ``credential``, ``location``, ``consumer``, ``owner`` or ``vendor``."""
    label: str


class Edge(msgspec.Struct, frozen=True, order=True):
    """How two things belong together."""

    source: str
    target: str
    relation: str
    """Of a consumer: ``uses`` was seen by a gateway; ``holds`` the value; ``names`` is evidence."""


class Graph(msgspec.Struct, frozen=True, kw_only=True):
    """Nodes and edges, each once, in a fixed order."""

    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]


def graph_of(seen: Iterable[Sighting], vendors: Iterable[Vendor]) -> Graph:
    """The graph of these secrets and everything around them."""
    titles = {vendor.id: vendor.title for vendor in vendors}
    nodes: set[Node] = set()
    edges: set[Edge] = set()

    def connect(source: Node, target: Node, relation: str) -> None:
        nodes.update((source, target))
        edges.add(Edge(source.id, target.id, relation))

    for one in seen:
        secret = Node(f"secret:{one.id}", "secret", f"{one.provider} {one.masked}")
        nodes.add(secret)
        if one.credential is not None:
            credential = Node(f"credential:{one.credential.id}", "credential", one.credential.name)
            connect(secret, credential, "is")
        if one.owner:
            connect(secret, Node(f"owner:{one.owner}", "owner", one.owner), "owned by")
        for place in one.places:
            location = Node(f"location:{place.id}", "location", place.location.path)
            gone = place.removed_at is not None
            connect(secret, location, "was in" if gone else "is in")
            if place.vendor_id:
                title = titles.get(place.vendor_id, place.source)
                connect(location, Node(f"vendor:{place.vendor_id}", "vendor", title), "at")
        for believed in one.believed_places:
            kept = Node(f"location:{believed.place.id}", "location", believed.place.location.path)
            connect(secret, kept, "may be in" if believed.ambiguous else "is believed to be in")
        for source, target, relation in _around_consumers(one, secret):
            connect(source, target, relation)
    return Graph(nodes=tuple(sorted(nodes)), edges=tuple(sorted(edges)))


def _around_consumers(one: Sighting, secret: Node) -> Iterator[tuple[Node, Node, str]]:
    """Who uses it now, and where each of them is set up."""
    for user in one.consumers:
        if user.removed_at is not None:
            continue
        consumer = Node(f"consumer:{user.id}", "consumer", user.name)
        yield consumer, secret, _relation(user)
        for met in user.places:
            if met.removed_at is None:
                yield consumer, Node(f"location:{met.id}", "location", met.path), "is set up in"


def _relation(consumer: Consumer) -> str:
    match consumer.known_by:
        case KnownBy.SEEN_USING:
            return "uses"
        case KnownBy.HOLDS_VALUE:
            return "holds"
        case KnownBy.NAMED:
            return "may name" if consumer.ambiguous else "names"
