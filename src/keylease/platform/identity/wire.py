"""What the wire types of sign-in, sessions and API keys are made of."""

from __future__ import annotations

from typing import Annotated, Self

import msgspec
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
NO_CONTROLS = r"^[^\x00-\x1f\x7f]*$"
OptionalIdentifier = Annotated[str, StringConstraints(pattern=f"^({_UUID})?$", max_length=36)]
Identifier = Annotated[str, StringConstraints(pattern=f"^{_UUID}$", max_length=36)]
Label = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=NO_CONTROLS)]
PersonName = Annotated[str, StringConstraints(max_length=100, pattern=NO_CONTROLS)]
Email = Annotated[
    str, StringConstraints(min_length=3, max_length=254, pattern=r"^[^@\s\x00]+@[^@\s\x00]+$")
]
Typed = Annotated[str, StringConstraints(min_length=1, max_length=512)]
"""A password or a code, as somebody typed it."""
RandomText = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{20,200}$")]
LocalPath = Annotated[str, StringConstraints(max_length=500)]
"""Where somebody wants to go afterwards; only a path of this server is followed."""
Moment = Annotated[int, Field(description="Microseconds UTC.")]
MaybeMoment = Annotated[int | None, Field(description="Microseconds UTC.")]


class In(BaseModel):
    """What comes in: exactly these fields."""

    model_config = ConfigDict(extra="forbid")


class Out(BaseModel):
    """What goes out: fields that bear the names of a record's, and only those."""

    @classmethod
    def of(cls, record: msgspec.Struct) -> Self:
        """From the service. What the record has besides is left out."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields})
