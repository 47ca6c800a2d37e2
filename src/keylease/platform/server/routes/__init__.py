"""The API's routes: one file per resource, each with a ``router``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from keylease.platform.server.routes import (
    access,
    audit,
    budgets,
    contacts,
    credentials,
    environments,
    gateways,
    groups,
    health,
    incidents,
    inventory,
    invitations,
    link,
    model_routes,
    organizations,
    policy,
    policy_grants,
    projects,
    records,
    revocations,
    service_accounts,
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
        vendors.router,
        incidents.router,
        trust.router,
    )


def all_shapes() -> tuple[Any, ...]:
    """The msgspec shapes on the wire, for the OpenAPI document."""
    return (
        *policy.SHAPES,
        *revocations.SHAPES,
        *inventory.SHAPES,
        *vendors.SHAPES,
        *incidents.SHAPES,
        *trust.SHAPES,
    )
