"""Whose a key is, in one line."""

from __future__ import annotations

from keylease.contracts.findings import Belonging


def belonging(said: Belonging | None) -> str:
    """Such as ``account ci-bot, organization acme, scopes repo workflow``; empty for nothing."""
    if said is None:
        return ""
    parts = {
        "account": said.account,
        "organization": said.organization,
        "project": said.project,
        "scopes": " ".join(said.scopes),
    }
    return ", ".join(f"{name} {value}" for name, value in parts.items() if value)
