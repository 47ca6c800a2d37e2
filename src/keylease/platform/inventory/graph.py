"""The inventory as a graph: credential - location - consumer - owner - vendor."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

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
        for use in one.consumers:
            consumer = Node(f"consumer:{use.principal}", "consumer", use.principal)
            connect(consumer, secret, "uses")
    return Graph(nodes=tuple(sorted(nodes)), edges=tuple(sorted(edges)))
