"""What an object holds, for comparing two of them."""

from __future__ import annotations

import inspect


def fields_of(thing: object) -> object:
    """The attributes of one of our own objects, by name; anything else as it is.

    By the class's descriptors, which a class with ``__slots__`` has and a compiled one, too.
    """
    kind = type(thing)
    if not kind.__module__.startswith("keylease."):
        return thing
    return {
        name: fields_of(getattr(thing, name))
        for name, attribute in vars(kind).items()
        if inspect.isdatadescriptor(attribute) and not name.startswith("__")
    }
