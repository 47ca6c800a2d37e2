"""Devices that wait for somebody to sign them in."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Column, Index, Integer, Table

from keylease.platform.db.columns import METADATA, identifier, label, moment, organization

AUTHORIZATIONS: Final = Table(
    "device_authorizations",
    METADATA,
    identifier(primary_key=True),
    organization(),
    label("device_digest", length=64),
    label("user_code_digest", length=64),
    label("state", length=16),
    label("user_id", length=36),
    label("method", length=32),
    label("device"),
    label("address", length=64),
    Column("interval_seconds", Integer, nullable=False),
    moment("polled_at"),
    moment("created_at"),
    moment("expires_at"),
    Index("uq_device_authorizations_device_digest", "device_digest", unique=True),
    Index("uq_device_authorizations_user_code_digest", "user_code_digest", unique=True),
    Index("ix_device_authorizations_expires_at", "expires_at"),
)
"""``organization_id`` and ``user_id`` are empty until somebody has decided."""
