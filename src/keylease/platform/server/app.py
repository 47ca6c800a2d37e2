"""The application factory. Nothing is opened here: ``services`` come ready."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.types import ASGIApp

import keylease
from keylease.contracts.platform_link import AUDIT_ENTRIES, CALL_RECORDS
from keylease.platform.server.edge import Edge
from keylease.platform.server.problems import (
    Problem,
    add_problem_handlers,
    problem_responses,
)
from keylease.platform.server.routes import all_routers, all_shapes
from keylease.platform.server.routes.inventory import MAXIMUM_REPORT
from keylease.platform.server.routes.link import MAXIMUM_BODY as MAXIMUM_PUSH
from keylease.platform.server.routes.traces_ingest import MAXIMUM_BODY as MAXIMUM_SPANS
from keylease.platform.server.routes.traces_ingest import PATHS as SPAN_PATHS
from keylease.platform.server.services import Services
from keylease.platform.server.shapes import schemas_of

LARGER_BODIES: Final = {
    "/v1/inventory/scans": MAXIMUM_REPORT,
    CALL_RECORDS: MAXIMUM_PUSH,
    AUDIT_ENTRIES: MAXIMUM_PUSH,
    **dict.fromkeys(SPAN_PATHS, MAXIMUM_SPANS),
}
"""Path -> bytes, where more than the usual may be sent."""


def create_app(services: Services) -> FastAPI:
    """The API, without the edge; for tests of routes and for the OpenAPI document."""
    app = FastAPI(
        title="Keylease",
        version=keylease.__version__,
        docs_url=None,  # the console and docs/reference show it; a page from elsewhere would not
        redoc_url=None,
        openapi_url="/v1/openapi.json",
        separate_input_output_schemas=False,
    )
    app.state.services = services
    add_problem_handlers(app)
    for router in all_routers():
        # Not include_router(): it builds every route again for each application, when the first
        # request comes (130 ms), and adds a level to each match. Nothing is added to ours here.
        app.router.routes.extend(router.routes)
    app.openapi = lambda: openapi_document(app)  # type: ignore[method-assign]  # FastAPI's own way
    return app


def create_server(services: Services, *, hosts: Iterable[str], secure: bool = False) -> ASGIApp:
    """The API behind its edge: what is served. ``secure`` says that it is reached by TLS."""
    return Edge(
        create_app(services),
        clock=services.clock,
        hosts=hosts,
        larger_bodies=LARGER_BODIES,
        secure=secure,
    )


def openapi_document(app: FastAPI) -> dict[str, object]:
    """The OpenAPI 3.1 document."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, routes=app.routes)
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schema = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas.update(schema.pop("$defs", {}))
        schemas["Problem"] = schema
        schemas.update(schemas_of(all_shapes()))
        _describe_versions(document)
        app.openapi_schema = document
    return app.openapi_schema


def _describe_versions(document: dict[str, Any]) -> None:
    """Whatever reads ``If-Match`` may answer 412 and 428."""
    described = {str(status): text for status, text in problem_responses(412, 428).items()}
    for methods in document["paths"].values():
        for operation in methods.values():
            if any(one["name"] == "if-match" for one in operation.get("parameters", ())):
                operation["responses"] = described | operation["responses"]
