"""Every kind of secret has its row: whatever could be stored is claimed by one, or is harmless."""

from __future__ import annotations

import importlib
import pkgutil
import re

from sqlalchemy import LargeBinary
from sqlalchemy.engine import make_url

import keylease.platform
from keylease.contracts.self_report import OwnSecret, SecretReport, SelfReport
from keylease.platform.db.columns import METADATA
from keylease.platform.trust.gateway_secrets import gateway_secrets
from keylease.platform.trust.platform_secrets import (
    KEPT,
    database_weaknesses,
    platform_secrets,
)

SUSPICIOUS = re.compile(r"digest|hash|secret|seal|key|nonce|token|code|password|fingerprint|text")
PUBLIC = "public, or made of what is public"
IDENTIFIER = "an identifier of ours"
KEYLESS = "a document whose every text was searched for keys before it was stored"
NUMBER = "a number, a rule, or a list of our own words"
HARMLESS = {
    "api_keys.permissions": NUMBER,
    "api_keys.shown_to": IDENTIFIER,
    "audit_checkpoints.note": PUBLIC,
    "audit_logs.root": PUBLIC,
    "audit_witnesses.key": PUBLIC,
    "call_totals.input_tokens": NUMBER,
    "call_totals.output_tokens": NUMBER,
    "contacts.topics": NUMBER,
    "credential_versions_seen.fingerprint": "a name of a version, made under a gateway's own key",
    "gateway_nonces.nonce": "was used, and is good for nothing",
    "gateways.public_key": PUBLIC,
    "gateways.report": "what a gateway says of itself; holds no secret by its contract",
    "gateways.witness_key": PUBLIC,
    "idempotent_creates.key": "SHA-256 of what a client chose",
    "idempotent_creates.request_digest": "SHA-256 of a request in which no key was",
    "inventory_changes.details": KEYLESS,
    "inventory_changes.secret_id": IDENTIFIER,
    "inventory_exceptions.secret_id": IDENTIFIER,
    "inventory_fingerprints.secret_id": IDENTIFIER,
    "inventory_locations.location": KEYLESS,
    "inventory_locations.secret_id": IDENTIFIER,
    "inventory_secrets.key_id": "the public half of a pair, as AWS has it",
    "inventory_vendors.given": KEYLESS,
    "invitations.group_ids": IDENTIFIER,
    "outbox.entry": "an audit entry; one that looks like it holds a secret is not committed",
    "outside_identities.subject_digest": "SHA-256 of a name that an issuer gives",
    "outside_issuers.groups": IDENTIFIER,
    "person.email_key": "an address, folded so that it is found; erased with the person",
    "policy_bundles.digest": PUBLIC,
    "policy_keys.endorsement": PUBLIC,
    "policy_keys.public_key": PUBLIC,
    "policy_objects.content": KEYLESS,
    "policy_proposals.authors": IDENTIFIER,
    "policy_proposals.widenings": KEYLESS,
    "policy_revisions.content": KEYLESS,
    "policy_versions.widenings": KEYLESS,
    "roles.permissions": NUMBER,
    "sign_in_settings.domains": PUBLIC,
    "sign_in_settings.maximum_key_days": NUMBER,
    "sign_in_settings.passwords_allowed": NUMBER,
    "trace_projects.wishes": KEYLESS,
}
"""Columns that could hold a secret by their name or type, and why they hold none."""


def columns() -> set[str]:
    """Of every table, with or without a service that has imported it."""
    for module in pkgutil.walk_packages(keylease.platform.__path__, "keylease.platform."):
        if module.name.endswith("tables"):
            importlib.import_module(module.name)
    return {
        f"{table.name}.{column.name}"
        for table in METADATA.sorted_tables
        for column in table.columns
        if isinstance(column.type, LargeBinary) or SUSPICIOUS.search(column.name)
    }


def test_every_column_that_could_hold_a_secret_is_claimed_or_harmless() -> None:
    claimed = {column for one in KEPT for column in one.columns}
    found = columns()
    assert found - claimed - set(HARMLESS) == set(), "say in KEPT what kind of secret it is"
    assert set(HARMLESS) <= found, "gone: take it out"
    assert not claimed & set(HARMLESS)
    known = {f"{t.name}.{c.name}" for t in METADATA.sorted_tables for c in t.columns}
    assert claimed <= known


def test_every_row_answers_every_question() -> None:
    url = make_url("postgresql+asyncpg://keylease@db.example.com/k?passfile=/etc/keylease/pgpass")
    rows = platform_secrets(
        directory="/srv/platform", isolation="own user", database=url, api_key_days=90
    )
    kinds = [one.kind for one in rows]
    assert len(set(kinds)) == len(kinds) == len(KEPT) + 1
    for one in rows:
        assert all(
            (one.location, one.protector, one.holder, one.isolation, one.lifetime, one.audit)
        ), one.kind
        assert "{" not in one.lifetime
    by_kind = {one.kind: one for one in rows}
    assert by_kind["sign-in to the database"].location == "/etc/keylease/pgpass"
    assert "db.example.com" in by_kind["passwords"].location
    assert by_kind["audit log signing key"].location == "/srv/platform/audit/keys/*.key"


def test_an_unverified_way_to_the_database_is_a_weakness() -> None:
    def weak(address: str) -> bool:
        return bool(database_weaknesses(make_url(address)))

    assert weak("postgresql://keylease@db.example.com/k")
    assert weak("postgresql://keylease@db.example.com/k?ssl=require")
    assert not weak("postgresql://keylease@db.example.com/k?ssl=verify-full")
    assert not weak("postgresql://keylease@/k?host=/run/postgresql")
    assert not weak("postgresql://keylease@localhost/k")
    assert not weak("sqlite:////srv/platform/platform.sqlite")


def test_what_a_gateway_says_of_its_own_secrets_is_in_the_report() -> None:
    own = tuple(
        SecretReport(kind=kind, location="l", protector="p", lifetime="x", audit="a")
        for kind in OwnSecret
    )
    held = list(gateway_secrets("gateway edge", SelfReport(made_at=1, secrets=own), {}))
    assert {one.kind for one in held} == {"lease signing key", *OwnSecret}
    older = list(gateway_secrets("gateway edge", SelfReport(made_at=1), {}))
    (unsaid,) = [one for one in older if one.kind == "gateway's own keys"]
    assert "not known" in unsaid.location
