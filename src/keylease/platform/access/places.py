"""Where something is allowed: in the organization, in a project, on one object of either.

An object is named by its kind and identifier, ``credential/018f...``. The kind is the resource of
the permission that is asked for, so a grant on a credential says nothing about traces. A slash,
because ``credential:`` before random digits is how keys are found that somebody sent by mistake.
"""

from __future__ import annotations

import msgspec

from keylease.platform.access.permissions import Permission


class Place(msgspec.Struct, frozen=True):
    """Empty parts are "any": ``Place()`` is the whole organization."""

    project_id: str = ""
    object: str = ""

    def enclosing(self) -> tuple[Place, ...]:
        """The places whose grants reach here, the widest first and this one last."""
        places = [Place()]
        if self.project_id:
            places.append(Place(project_id=self.project_id))
        if self.object:
            places.append(Place(object=self.object))
            if self.project_id:
                places.append(self)
        return tuple(places)

    def __str__(self) -> str:
        """For sentences."""
        if self.object:
            return self.object + (f" in project {self.project_id}" if self.project_id else "")
        return f"project {self.project_id}" if self.project_id else "the organization"


def object_name(permission: Permission, object_id: str) -> str:
    """What an object is called in grants when ``permission`` is asked for on it."""
    return f"{permission.resource}/{object_id}" if object_id else ""
