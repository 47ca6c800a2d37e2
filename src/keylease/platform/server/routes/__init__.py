"""The API's routes: one file per resource, each with a ``router``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keylease.platform.server.pages import routes as pages
from keylease.platform.server.routes import (
    access,
    api_keys,
    audit,
    budgets,
    contacts,
    credentials,
    devices,
    environments,
    gateways,
    groups,
    health,
    identity_tokens,
    incidents,
    inventory,
    inventory_webhooks,
    invitations,
    link,
    model_routes,
    organizations,
    outside_issuers,
    policy,
    policy_grants,
    projects,
    records,
    revocations,
    service_accounts,
    sessions,
    sign_in,
    sign_in_methods,
    sign_in_settings,
    sql,
    trace_backups,
    trace_settings,
    trace_store,
    trace_tail,
    traces,
    traces_ingest,
    trust,
    trust_rules,
    users,
    vendors,
)

if TYPE_CHECKING:
    from fastapi import APIRouter


def all_routers() -> tuple[APIRouter, ...]:
    """Every router, in the order of the OpenAPI document."""
    return (
        health.router,
        organizations.router,
        projects.router,
        environments.router,
        users.router,
        service_accounts.router,
        groups.router,
        invitations.router,
        contacts.router,
        access.router,
        sign_in.router,
        sign_in_methods.router,
        sign_in_settings.router,
        outside_issuers.router,
        sessions.router,
        devices.router,
        api_keys.router,
        identity_tokens.router,
        credentials.router,
        model_routes.router,
        policy_grants.router,
        budgets.router,
        trust_rules.router,
        policy.router,
        revocations.router,
        gateways.router,
        link.router,
        records.router,
        audit.router,
        inventory.router,
        inventory_webhooks.router,
        vendors.router,
        incidents.router,
        traces.router,
        trace_tail.router,
        sql.router,
        trace_store.router,
        trace_backups.router,
        trace_settings.router,
        trust.router,
        traces_ingest.router,
        pages.router,
    )


def all_shapes() -> tuple[Any, ...]:
    """The msgspec shapes on the wire, for the OpenAPI document."""
    return (
        *policy.SHAPES,
        *revocations.SHAPES,
        *inventory.SHAPES,
        *inventory_webhooks.SHAPES,
        *vendors.SHAPES,
        *incidents.SHAPES,
        *traces.SHAPES,
        *sql.SHAPES,
        *trace_store.SHAPES,
        *trace_backups.SHAPES,
        *trace_settings.SHAPES,
        *trust.SHAPES,
    )
