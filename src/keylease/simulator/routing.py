"""From a method and a path to the function that answers."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from urllib.parse import unquote

from keylease.simulator.exchange import Answer, Call, Refusal

Handler = Callable[..., Answer]
"""Takes the call, and the identifier in the path if the route has one."""


class Router:
    """A provider's routes, written ``METHOD /path/{id}``."""

    def __init__(self, routes: Mapping[str, Handler]) -> None:
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        for route, handler in routes.items():
            method, _, path = route.partition(" ")
            shape = re.compile(re.sub(r"\{\w+\}", "([^/]+)", path))
            self._routes.append((method, shape, handler))

    def answer(self, call: Call) -> Answer:
        """Answer a call, or raise the ``Refusal`` of an unknown path or method."""
        known = False
        for method, shape, handler in self._routes:
            found = shape.fullmatch(call.path)
            if found is None:
                continue
            known = True
            if method == call.method:
                return handler(call, *(unquote(part) for part in found.groups()))
        if known:
            raise Refusal(405, f"Method {call.method} is not allowed for {call.path}.")
        raise Refusal(404, f"Invalid URL ({call.method} {call.path})")
