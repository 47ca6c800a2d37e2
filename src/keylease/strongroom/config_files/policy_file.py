"""Reads keylease.toml, the local policy, into a policy bundle.

Protects: a slip of the pen is an error with its line; a credential for evals is never one for
    production too; what looks like a secret is refused without being shown.
Does not protect: against a grant that its owner wrote too wide. gateway.toml bounds all of it.
Limits: 1 MiB; the whole file is read and checked, or none of it is used.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Final, Protocol, TypeVar

import msgspec

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.leases import DEFAULT_LIFETIME, LONGEST_LIFETIME
from keylease.contracts.patterns import is_pattern
from keylease.contracts.policy import (
    BudgetPeriod,
    ContentRecording,
    Credential,
    Grant,
    Limits,
    ObjectAccess,
    PolicyBundle,
    Route,
    Strategy,
    Target,
    TrustRule,
)
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import SCHEMES, Reference
from keylease.errors import Diagnostic, PolicyFileInvalid, ReferenceInvalid
from keylease.primitives.identifiers import derived_id
from keylease.strongroom.config_files.policy_checks import check_policy
from keylease.strongroom.config_files.positions import Position
from keylease.strongroom.config_files.providers import read_provider
from keylease.strongroom.config_files.reader import Document, Table, did_you_mean, quoted
from keylease.strongroom.config_files.values import parse_base_url, parse_duration, parse_money
from keylease.strongroom.leases.rules import check_rule, is_github

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MAXIMUM_PER_MINUTE: Final = 10**12
_EXAMPLES: Final = {"models": '"gpt-*"', "environments": '"local"'}
_PRINCIPAL_KINDS: Final = ("user", "service_account", "workload")


class _Named(Protocol):
    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...


_Item = TypeVar("_Item", bound=_Named)


class LoadedPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A keylease.toml without mistakes."""

    bundle: PolicyBundle
    warnings: tuple[Diagnostic, ...]
    places: Mapping[str, Position]
    """Id of a credential, route, grant or trust rule -> where it begins."""


def load_policy(path: Path, *, organization_id: str, version: int, now: int) -> PolicyBundle:
    """Read keylease.toml; raises ``PolicyFileInvalid`` with every mistake in it.

    ``now`` is in microseconds UTC and becomes ``issued_at``.
    """
    return read_policy(path, organization_id=organization_id, version=version, now=now).bundle


def read_policy(path: Path, *, organization_id: str, version: int, now: int) -> LoadedPolicy:
    """As ``load_policy``, with the warnings and places."""
    document = Document(path, PolicyFileInvalid)
    root = document.root(("credential", "route", "grant", "trust", "serve_when_spool_full"))
    reader = _Reader(document, organization_id)
    credentials = reader.read(root.tables("credential"), "credential", reader.credential)
    routes = reader.read(root.tables("route"), "route", reader.route)
    grants = reader.read(root.tables("grant"), "grant", reader.grant)
    rules = reader.read(root.tables("trust"), "trust", reader.trust_rule)
    bundle = PolicyBundle(
        organization_id=organization_id,
        version=version,
        issued_at=now,
        credentials=credentials,
        routes=routes,
        grants=grants,
        trust_rules=rules,
        serve_when_spool_full=root.boolean("serve_when_spool_full", default=False),
    )
    root.finish()
    check_policy(document, bundle, reader.paths)
    return LoadedPolicy(
        bundle=bundle,
        warnings=document.finish(),
        places={identifier: document.position(place) for identifier, place in reader.paths.items()},
    )


class _Reader:
    """Turns tables into policy types; knows the names that were read before."""

    def __init__(self, document: Document, organization_id: str) -> None:
        self._document = document
        self._organization_id = organization_id
        self._credential_ids: dict[str, str] = {}
        self.paths: dict[str, tuple[str | int, ...]] = {}

    def read(
        self, tables: list[Table], kind: str, make: Callable[[Table, str, str], _Item]
    ) -> tuple[_Item, ...]:
        """Read each table; names and ids must differ."""
        items: list[_Item] = []
        names: dict[str, int] = {}
        for table in tables:
            name = table.parsed("name", str, _name, "", expected='"a-name"', required=True)
            line = self._document.position(table.path).line
            if name in names:
                table.report(
                    "name",
                    f"There are two {kind}s with the name {quoted(name)}.",
                    f"The first is in line {names[name]}.",
                )
            elif name:
                names[name] = line
            identifier = table.parsed("id", str, _uuid, "", expected='"<uuid>"')
            # A table without a usable name still needs an identifier of its own while it is read.
            identifier = identifier or derived_id(
                self._organization_id, kind, name or f"#{table.path[-1]}"
            )
            if identifier in self.paths and name not in names:
                table.report(
                    "id",
                    f"The id {quoted(identifier)} is used twice.",
                    "Take one of them out: a name is enough for an id of its own.",
                )
            self.paths.setdefault(identifier, table.path)
            if kind == "credential" and name:
                self._credential_ids.setdefault(name, identifier)
            items.append(make(table, identifier, name))
            table.finish()
        return tuple(items)

    def credential(self, table: Table, identifier: str, name: str) -> Credential:
        provider = read_provider(table)
        upstream = table.parsed(
            "upstream", str, _base_url, "", expected='"https://llm.internal:8443/v1"'
        )
        if provider in CATALOGUE and not CATALOGUE[provider].base_url and not upstream:
            table.report(
                "upstream",
                f"{provider} exists only where somebody runs it, so the credential must name its "
                "upstream.",
                'Write: upstream = "https://llm.internal:8443/v1"',
            )
        purposes = table.words("purposes", Purpose, required=True)
        if Purpose.EVAL in purposes and Purpose.PRODUCTION in purposes:
            table.report(
                "purposes",
                "A credential is for eval or for production, never for both.",
                "Make a second credential, with a secret of its own, for evals.",
            )
        return Credential(
            id=identifier,
            name=name,
            provider=provider,
            reference=_reference(table),
            purposes=purposes,
            environment=table.parsed(
                "environment", str, _environment, "default", expected='"production"'
            ),
            upstream=upstream,
        )

    def route(self, table: Table, identifier: str, name: str) -> Route:
        strategy = table.choice("strategy", Strategy, Strategy.ORDERED)
        tables = table.tables("targets", inline=True)
        if not tables and not table.damaged:
            table.report(
                "targets",
                f"The route {quoted(name)} has no targets, so it leads nowhere.",
                'Write: targets = [{ credential = "..." }]',
            )
        targets = tuple(self._target(target, strategy) for target in tables)
        return Route(
            id=identifier,
            name=name,
            models=_patterns(table, "models"),
            targets=targets,
            strategy=strategy,
        )

    def _target(self, table: Table, strategy: Strategy) -> Target:
        credential = table.text("credential", required=True, expected='"..."')
        if credential and credential not in self._credential_ids:
            table.report(
                "credential",
                f"There is no credential {quoted(credential)}.",
                did_you_mean(credential, self._credential_ids),
            )
        weight = table.optional_integer("weight", minimum=1, maximum=1_000_000)
        if weight is not None and strategy is Strategy.ORDERED:
            table.warn(
                "weight",
                "A weight has no meaning on an ordered route.",
                'Write strategy = "weighted", or take it out.',
            )
        target = Target(
            credential_id=self._credential_ids.get(credential, ""),
            model=table.text("model"),
            weight=1 if weight is None else weight,
        )
        table.finish()
        return target

    def grant(self, table: Table, identifier: str, name: str) -> Grant:
        budget = table.parsed(
            "budget_usd", (str, int, Decimal), parse_money, None, expected='"25.00"'
        )
        period = table.choice("budget_period", BudgetPeriod, BudgetPeriod.DAY)
        if budget is None and table.take("budget_period") is not None and not table.damaged:
            table.warn(
                "budget_period",
                "budget_period has no meaning without budget_usd.",
                'Write: budget_usd = "25.00"',
            )
        return Grant(
            id=identifier,
            name=name,
            principals=table.each(
                "principals", _principal_pattern, expected='"user:*"', required=True
            ),
            models=_patterns(table, "models"),
            purposes=table.words("purposes", Purpose, required=True),
            environments=_patterns(table, "environments", "*"),
            limits=Limits(
                requests_per_minute=table.optional_integer(
                    "requests_per_minute", minimum=1, maximum=_MAXIMUM_PER_MINUTE
                ),
                tokens_per_minute=table.optional_integer(
                    "tokens_per_minute", minimum=1, maximum=_MAXIMUM_PER_MINUTE
                ),
                budget_micro_usd=budget,
                budget_period=period,
            ),
            maximum_lease_seconds=_lease_seconds(table),
            content=table.choice("content", ContentRecording, ContentRecording.NONE),
            objects=table.choice("objects", ObjectAccess, ObjectAccess.OWN),
        )

    def trust_rule(self, table: Table, identifier: str, name: str) -> TrustRule:
        issuer = table.text("issuer", required=True, expected='"https://issuer.example.com"')
        claims = table.table("claims")
        claims.known(claims.values)
        for key, value in claims.values.items():
            if not isinstance(value, str):
                claims.report(key, f"claims.{quoted(key)} must be text.", f'Write: {key} = "..."')
        rule = TrustRule(
            id=identifier,
            name=name,
            issuer=issuer,
            audience=table.text("audience", required=True, expected='"keylease"'),
            claims={key: str(value) for key, value in claims.values.items()},
            principal=table.text("principal", required=True, expected='"workload:{sub}"'),
            purposes=table.words("purposes", Purpose, required=True),
            environments=_patterns(table, "environments", "*"),
            models=_patterns(table, "models", "*"),
            # Presented once by CI jobs, again and again by workloads whose platform renews it.
            subject_once=table.boolean("subject_once", default=is_github(issuer)),
            maximum_lease_seconds=_lease_seconds(table),
        )
        if not table.damaged and not claims.damaged:
            for problem in check_rule(rule):
                key = re.split(r"[ .:]", problem, maxsplit=1)[0]
                table.report(
                    key if key in table.values else "",
                    problem,
                    "docs/reference/keylease-toml.md shows a whole trust rule.",
                )
        return rule


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("a name of letters, digits and . _ - with at most 64 characters")
    return text


def _uuid(text: str) -> str:
    try:
        return str(uuid.UUID(text))
    except ValueError:
        raise ValueError("a UUID") from None


def _environment(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        raise ValueError("a plain name such as production, without *")
    return text


def _base_url(text: str) -> str:
    parse_base_url(text)
    return text


def _reference(table: Table) -> str:
    text = table.text("reference", required=True, expected='"sealed://openai"')
    if not text:
        return ""
    try:
        return str(Reference.parse(text))
    except ReferenceInvalid as error:
        scheme = text.partition("://")[0]
        known = error.advice or ""
        if "://" in text and scheme not in SCHEMES:
            known = did_you_mean(scheme, SCHEMES, say="Stores: ")
        # The value is not shown: it may be a secret of a form that nobody knows.
        table.report("reference", error.message, known)
        return ""


def _patterns(table: Table, key: str, *default: str) -> tuple[str, ...]:
    found = table.each(key, _pattern, default, expected=_EXAMPLES[key], required=not default)
    if default and table.take(key) == []:
        table.report(key, f"{key} is empty, so nothing could match.", f'Write: {key} = ["*"]')
    return found


def _pattern(text: str) -> str:
    if not is_pattern(text):
        raise ValueError("a name or a pattern with *, in ASCII and without spaces")
    return text


def _principal_pattern(text: str) -> str:
    kind, separator, name = text.partition(":")
    if text == "*" or (separator and name and kind in _PRINCIPAL_KINDS and is_pattern(text)):
        return text
    kinds = ", ".join(f"{known}:..." for known in _PRINCIPAL_KINDS)
    raise ValueError(f"a principal pattern ({kinds}, or *)")


def _lease_seconds(table: Table) -> int:
    def parse(text: str) -> int:
        seconds = parse_duration(text)
        if not 1 <= seconds <= LONGEST_LIFETIME or seconds != int(seconds):
            raise ValueError('from "1s" to "24h"')
        return int(seconds)

    return table.parsed("maximum_lease", str, parse, DEFAULT_LIFETIME, expected='"15m"')
