"""msgspec shapes on the wire, for resources whose answers are large and already frozen.

A route answers ``answer(value)`` and says ``responses=describes(Shape)``; its module lists the
shapes in ``SHAPES``, from which the OpenAPI document gets their schemas.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

import msgspec
from fastapi import Request, Response

from keylease.errors import InputInvalid

_TEMPLATE: Final = "#/components/schemas/{name}"
Shape = TypeVar("Shape")


def answer(value: object, *, status: int = 200, version: int | None = None) -> Response:
    """A value as JSON, with its version as ``ETag``."""
    headers = {} if version is None else {"ETag": f'"{version}"'}
    return Response(
        msgspec.json.encode(value),
        status_code=status,
        headers=headers,
        media_type="application/json",
    )


async def body_of(request: Request, shape: type[Shape]) -> Shape:
    """The request's body. Raises ``InputInvalid`` with the place that is wrong."""
    try:
        return msgspec.json.decode(await request.body(), type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        # msgspec names types and places, never values.
        raise InputInvalid(f"The body is not as it must be: {error}.") from None
    except RecursionError:
        raise InputInvalid("The body is nested too deeply.") from None


def describes(shape: str, *, status: int = 200) -> dict[int | str, dict[str, Any]]:
    """What a route answers, for the OpenAPI document."""
    schema = {"$ref": _TEMPLATE.format(name=shape)}
    return {status: {"description": "Success", "content": {"application/json": {"schema": schema}}}}


def takes(shape: str) -> dict[str, Any]:
    """What a route reads, for ``openapi_extra``."""
    schema = {"$ref": _TEMPLATE.format(name=shape)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def schemas_of(shapes: tuple[Any, ...]) -> dict[str, Any]:
    """JSON schemas of the shapes and of everything they are made of, by name."""
    _, components = msgspec.json.schema_components(shapes, ref_template=_TEMPLATE)
    return components
