"""The member ``provider``, as bindings and credentials have it."""

from __future__ import annotations

from keylease.contracts.catalogue import CATALOGUE
from keylease.strongroom.config_files.reader import Table, did_you_mean, quoted


def read_provider(table: Table) -> str:
    """A name of the catalogue; any other one is reported, and given all the same."""
    provider = table.text("provider", required=True, expected='"openai"')
    if provider and provider not in CATALOGUE:
        table.report(
            "provider",
            f"There is no provider {quoted(provider)}.",
            did_you_mean(provider, CATALOGUE),
        )
    return provider
