"""Reads [[binding]] of gateway.toml: which references may go to which hosts, and for what.

Protects: a binding that could never apply, or a pattern that matches nothing, is an error with its
    line; a host that is not in the catalogue is used only when the binding names it.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final
from urllib.parse import urlsplit

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import SCHEMES, Reference
from keylease.errors import ReferenceInvalid
from keylease.strongroom.config_files import kinds
from keylease.strongroom.config_files.providers import read_provider
from keylease.strongroom.config_files.reader import Table, did_you_mean, quoted
from keylease.strongroom.config_files.values import parse_money, parse_origin, parse_pattern
from keylease.strongroom.configuration import Binding, Origin

_REFERENCE_PATTERN: Final = re.compile(r"[a-z-]+://[^\x00-\x20\x7f]{1,1000}")
_SCHEMES_WITH_FIELD: Final = frozenset({"vault", "aws-sm"})


def read_binding(table: Table, number: int) -> Binding:
    """The ``number``th table; its mistakes are reported to it."""
    reference = table.text("reference", required=True, expected='"sealed://openai-*"')
    if reference:
        _check_reference_pattern(table, reference)
    provider = read_provider(table)
    listed = table.each("hosts", parse_origin, expected='"https://llm.internal:8443"')
    if table.take("hosts") == []:
        table.report(
            "hosts",
            "hosts is empty: the binding could never apply.",
            "Take it out, and the provider's own host is meant.",
        )
    origins = listed or _catalogue_origins(table, provider)
    _warn_of_plain_http(table, listed)
    purposes = table.words("purposes", Purpose, required=True)
    if Purpose.EVAL in purposes and Purpose.PRODUCTION in purposes:
        table.warn(
            "purposes",
            "This binding serves eval and production alike; only the policy keeps them apart.",
            "Write one binding for each, with references of their own.",
        )
    environments = table.each("environments", parse_pattern, ("*",), expected='"local"')
    if table.take("environments") == []:
        table.report(
            "environments",
            "environments is empty: the binding could never apply.",
            'Write: environments = ["*"], or take it out.',
        )
    maximum = table.parsed(
        "maximum_usd_per_day", (str, int, Decimal), parse_money, None, expected='"25.00"'
    )
    table.finish()
    return Binding(
        id=f"binding:{number}",
        reference=reference,
        provider=provider,
        origins=origins,
        listed=bool(listed),
        purposes=purposes,
        environments=environments,
        maximum_micro_usd_per_day=maximum,
    )


def _check_reference_pattern(table: Table, reference: str) -> None:
    scheme, separator, rest = reference.partition("://")
    if not separator or scheme not in SCHEMES:
        table.report(
            "reference",
            "reference does not begin with the name of a store.",
            did_you_mean(f"{scheme}", SCHEMES, say="Stores: ")
            + f" For example: {SCHEMES[2]}://openai-*",
        )
        return
    if "*" not in reference:
        try:
            canonical = str(Reference.parse(reference))
        except ReferenceInvalid as error:
            table.report("reference", error.message, error.advice)
            return
        if canonical != reference:
            table.report(
                "reference",
                "reference is not in its plain form, so it would match nothing.",
                f"Write: reference = {quoted(canonical)}",
            )
        return
    if _REFERENCE_PATTERN.fullmatch(reference) is None or "***" in reference:
        table.report(
            "reference",
            "reference is no pattern of a reference.",
            "* stands for anything but / and #, ** for anything at all.",
        )
    elif scheme == "vault" and "#" not in rest and not rest.endswith("**"):
        table.report(
            "reference",
            "A vault reference ends with #field, so this pattern matches none.",
            f"Write: reference = {quoted(reference + '#*')}",
        )
    elif "#" in rest and scheme not in _SCHEMES_WITH_FIELD:
        table.report(
            "reference",
            f"A {scheme} reference has no #field, so this pattern matches none.",
            f"Write: reference = {quoted(reference.partition('#')[0])}",
        )


def _catalogue_origins(table: Table, provider: str) -> tuple[Origin, ...]:
    if provider not in CATALOGUE:
        return ()
    if not CATALOGUE[provider].base_url:
        table.report(
            "hosts",
            f"{provider} exists only where somebody runs it, so the binding must name its hosts.",
            'Write: hosts = ["https://llm.internal:8443"]',
        )
        return ()
    parts = urlsplit(CATALOGUE[provider].base_url)
    return (parse_origin(f"{parts.scheme}://{parts.netloc}"),)


def _warn_of_plain_http(table: Table, listed: tuple[Origin, ...]) -> None:
    for origin in listed:
        if origin.scheme == "http" and not kinds.is_loopback(origin.host):
            table.warn(
                "hosts",
                f"The key goes to {quoted(origin.host)} without TLS; whoever is on the way can "
                "read it.",
                "Write https:// in front of the host, if it can be had so.",
            )
