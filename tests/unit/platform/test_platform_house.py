"""Rules that hold for every domain, table and route of the platform."""

from __future__ import annotations

import ast
import importlib
import pkgutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from sqlalchemy import Connection, inspect
from tests.support.manual_clock import ManualClock
from tests.support.platform_kit import services_for

import keylease.platform
from keylease.platform.access.permissions import ACTIONS, Permission
from keylease.platform.db.columns import METADATA
from keylease.platform.db.database import Database
from keylease.platform.server.app import create_app
from keylease.platform.server.resources import KeylessRoute

MAY_CONTAIN_SECRETS = {
    # Passwords and codes are given here on purpose; they are never stored as they are.
    "sign-in",
    # Lines and spans are masked by their own ingest, not refused.
    "ingest",
    # Signed by gateways; what is in them was masked before it was recorded.
    "gateway-link",
}
"""Tags of routers whose bodies are not refused for what looks like a key."""


def every_module() -> Iterator[str]:
    for module in pkgutil.walk_packages(keylease.platform.__path__, "keylease.platform."):
        if ".migrations" not in module.name and not module.name.endswith("__main__"):
            yield module.name


@pytest.fixture
async def routes(
    database: Database, clock: ManualClock, tmp_path: Path
) -> AsyncIterator[list[APIRoute]]:
    async with services_for(database, clock, tmp_path) as services:
        app = create_app(services)
        yield [route for route in app.routes if isinstance(route, APIRoute)]


def needs_of(dependant: Dependant) -> Iterator[str]:
    for part in dependant.dependencies:
        mark = getattr(part.call, "needs", "")
        if mark:
            yield mark
        yield from needs_of(part)


async def test_every_route_says_who_may_call_it(routes: list[APIRoute]) -> None:
    silent = [r.path for r in routes if not list(needs_of(r.dependant))]
    assert not silent


async def test_bodies_that_contain_a_key_are_refused_everywhere(routes: list[APIRoute]) -> None:
    open_to_keys = {
        f"{sorted(r.methods or ())} {r.path}"
        for r in routes
        if r.body_field is not None
        and not isinstance(r, KeylessRoute)
        and not MAY_CONTAIN_SECRETS & set(map(str, r.tags))
    }
    assert not open_to_keys


def test_the_address_of_a_request_is_not_split() -> None:
    """``urllib.parse`` keeps what it has split, and a key may have been pasted into an address."""
    root = Path(keylease.platform.__file__).parent / "server"
    splitting = [str(p) for p in root.rglob("*.py") if "request.url." in uncommented(p)]
    assert splitting == []


def uncommented(file: Path) -> str:
    """The code of a file, without what its docstrings say."""
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value = ast.Constant(None)
    return ast.unparse(tree)


async def test_the_migrations_make_the_tables_that_the_code_declares(database: Database) -> None:
    for name in every_module():
        importlib.import_module(name)

    def differences(connection: Connection) -> list[Any]:
        return list(compare_metadata(MigrationContext.configure(connection), METADATA))

    async with database.reading() as transaction:
        assert await transaction.connection.run_sync(differences) == []


async def test_every_table_of_a_tenant_has_the_organization(database: Database) -> None:
    reached_otherwise = {
        "alembic_version",
        "organizations",
        # By the log, which is one organization's; callers never name it.
        "audit_index",
        "audit_checkpoints",
        "audit_witnesses",
        "gateway_nonces",  # by the gateway, which is one organization's
        "sign_in_attempts",  # counted before anybody knows whose account it is
    }

    def without(connection: Connection) -> set[str]:
        tables = inspect(connection)
        return {
            name
            for name in tables.get_table_names()
            if "organization_id" not in {column["name"] for column in tables.get_columns(name)}
        }

    async with database.reading() as transaction:
        missing = await transaction.connection.run_sync(without)
    assert missing - reached_otherwise == set()


def test_permissions_keep_to_their_grammar() -> None:
    for permission in Permission:
        resource, separator, action = permission.value.partition(":")
        assert separator
        assert action in ACTIONS, permission
        assert resource.replace("_", "").isalpha()
        assert resource.islower()
        assert permission.name == f"{resource}_{action}".upper()
