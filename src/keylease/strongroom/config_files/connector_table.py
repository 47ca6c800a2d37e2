"""Reads [[connector]] of gateway.toml: which outside systems may be asked what they keep."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from keylease.contracts.references import Reference
from keylease.errors import ReferenceInvalid
from keylease.strongroom.config_files import kinds
from keylease.strongroom.config_files.reader import Table, did_you_mean, quoted
from keylease.strongroom.configuration import ConnectorSettings

SYSTEMS: Final = {
    # Whether everybody runs their own, so that `url` is needed.
    "github": False,
    "gitlab": False,
    "vercel": False,
    "vault": True,
    "aws-sm": False,
    "braintrust": False,
    "langsmith": False,
    "langfuse": False,
    "litellm": True,
    "openrouter": False,
}
_ACCOUNTS: Final = {
    "github": '"my-organization"',
    "gitlab": '"my-group"',
    "vault": '"secret"',
    "aws-sm": '"eu-central-1"',
}
"""Systems that are asked about one account, with an example of it."""
_WITHOUT_REFERENCE: Final = "aws-sm"
"""Signs in by AWS's default credential chain."""
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_.-]+(?:/[A-Za-z0-9_.-]+){0,15}/?")
_ROLE: Final = re.compile(r"arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=,.@/-]{1,512}", re.ASCII)
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")


def read_connectors(root: Table, path: Path) -> tuple[ConnectorSettings, ...]:
    """Every table; ``path`` is that of gateway.toml."""
    found: list[ConnectorSettings] = []
    for table in root.tables("connector"):
        one = _connector(table, path)
        if one.name and one.name in [other.name for other in found]:
            table.report(
                "name",
                f"There are two connectors {quoted(one.name)}.",
                f'Write in one of them: name = "{one.name}-2"',
            )
        found.append(one)
    return tuple(found)


def _connector(table: Table, path: Path) -> ConnectorSettings:
    name = table.parsed("name", str, _name, "", expected='"github-acme"')
    system = table.text("system", required=True, expected='"github"')
    if not name and table.take("name") is None:
        name = system
    if system and system not in SYSTEMS:
        table.report(
            "system", f"There is no connector for {quoted(system)}.", did_you_mean(system, SYSTEMS)
        )
    needs_url = SYSTEMS.get(system, False)
    private = table.boolean("allow_private_address", default=False)
    url = kinds.url(table, "url", http=private, required=needs_url)
    reference = table.text("reference", required=system != _WITHOUT_REFERENCE)
    if reference:
        try:
            Reference.parse(reference)
        except ReferenceInvalid as error:
            table.report("reference", error.message, error.advice)
    account = table.text(
        "account", required=system in _ACCOUNTS, expected=_ACCOUNTS.get(system, '"..."')
    )
    settings = ConnectorSettings(
        name=name,
        system=system,
        reference=reference,
        account=account,
        url=url,
        allow_private_address=private,
        ca_file=kinds.file(table, "ca_file", path),
        vendor=table.text("vendor"),
        namespace=_of_system(table, "namespace", system, "vault", _NAMESPACE, '"team-a/prod"'),
        role=_of_system(
            table, "role", system, "aws-sm", _ROLE, '"arn:aws:iam::123456789012:role/keylease"'
        ),
    )
    table.finish()
    return settings


def _of_system(
    table: Table, key: str, system: str, owner: str, form: re.Pattern[str], expected: str
) -> str:
    """A setting that one system alone has."""

    def parse(text: str) -> str:
        if form.fullmatch(text) is None:
            raise ValueError(f"such as {expected}")
        return text

    value = table.parsed(key, str, parse, "", expected=expected)
    if value and system != owner:
        table.report(key, f"{key} is a setting of {quoted(owner)} only.", "Leave it out.")
    return value


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("lower-case letters, digits and -")
    return text
