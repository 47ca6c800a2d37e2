"""keylease.toml becomes a policy bundle, or is refused with every mistake in its place."""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.contracts.policy import (
    BudgetPeriod,
    ContentRecording,
    Credential,
    Grant,
    Limits,
    ObjectAccess,
    PolicyBundle,
    Strategy,
    TrustRule,
)
from keylease.contracts.purposes import Purpose
from keylease.errors import (
    Diagnostic,
    FileInvalid,
    GatewayFileInvalid,
    PolicyFileInvalid,
    Severity,
)
from keylease.primitives.identifiers import derived_id
from keylease.strongroom.config_files import default_files
from keylease.strongroom.config_files.gateway_file import LoadedGateway, read_gateway
from keylease.strongroom.config_files.policy_checks import check_together
from keylease.strongroom.config_files.policy_file import LoadedPolicy, load_policy, read_policy

ORGANIZATION = "0190a0b0-0000-7000-8000-000000000001"


def read(directory: Path, text: str) -> LoadedPolicy:
    path = directory / "keylease.toml"
    path.write_text("version = 1\n" + text)
    return read_policy(path, organization_id=ORGANIZATION, version=7, now=123)


def mistakes(directory: Path, text: str) -> list[Diagnostic]:
    with pytest.raises(PolicyFileInvalid) as caught:
        read(directory, text)
    return [d for d in caught.value.diagnostics if d.severity is Severity.ERROR]


def warnings(directory: Path, text: str) -> list[str]:
    return [item.message for item in read(directory, text).warnings]


CREDENTIAL = """
[[credential]]
name = "dev"
provider = "openai"
reference = "sealed://openai"
purposes = ["development", "eval"]
environment = "local"
"""
ROUTE = """
[[route]]
name = "all"
models = ["gpt-*"]
targets = [{ credential = "dev" }]
"""
GRANT = """
[[grant]]
name = "people"
principals = ["user:*"]
models = ["gpt-4o"]
purposes = ["development"]
environments = ["local"]
"""
TRUST = """
[[trust]]
name = "ci"
issuer = "https://token.actions.githubusercontent.com"
audience = "keylease"
claims = { repository_id = "123", repository_owner_id = "456", ref = "refs/heads/main" }
principal = "workload:ci"
purposes = ["eval"]
models = ["gpt-*"]
environments = ["local"]
maximum_lease = "10m"
"""
FULL = (
    """\
serve_when_spool_full = true
"""
    + CREDENTIAL
    + """
[[credential]]
name = "prod"
id = "0190a0b0-0000-7000-8000-0000000000ff"
provider = "openai-compatible"
reference = "vault://secret/openai#key"
purposes = "production"
environment = "production"
upstream = "https://llm.internal:8443/v1"

[[route]]
name = "split"
models = ["gpt-4o", "o3"]
strategy = "weighted"
targets = [
  { credential = "dev", weight = 3 },
  { credential = "prod", model = "gpt-4o-2024", weight = 1 },
]
"""
    + ROUTE.replace('["gpt-*"]', '["*"]')
    + """
[[grant]]
name = "people"
principals = ["user:*", "service_account:bot"]
models = ["gpt-*"]
purposes = ["development", "eval"]
environments = ["local"]
requests_per_minute = 60
tokens_per_minute = 100_000
budget_usd = 25.10
budget_period = "month"
maximum_lease = "1h"
content = "masked"
objects = "all"
"""
    + GRANT.replace('"people"', '"jobs"')
    .replace('"user:*"', '"workload:*"')
    .replace('["development"]', '["eval"]')
    + TRUST
)


def test_every_setting_arrives(tmp_path: Path) -> None:
    loaded = read(tmp_path, FULL)
    bundle = loaded.bundle
    assert loaded.warnings == ()
    assert (bundle.organization_id, bundle.version, bundle.issued_at) == (ORGANIZATION, 7, 123)
    assert bundle.serve_when_spool_full
    dev, prod = bundle.credentials
    assert dev == Credential(
        id=derived_id(ORGANIZATION, "credential", "dev"),
        name="dev",
        provider="openai",
        reference="sealed://openai",
        purposes=(Purpose.DEVELOPMENT, Purpose.EVAL),
        environment="local",
    )
    assert prod.id == "0190a0b0-0000-7000-8000-0000000000ff"
    assert prod.upstream == "https://llm.internal:8443/v1"
    split = bundle.routes[0]
    assert split.strategy is Strategy.WEIGHTED
    assert [(t.credential_id, t.model, t.weight) for t in split.targets] == [
        (dev.id, "", 3),
        (prod.id, "gpt-4o-2024", 1),
    ]
    assert bundle.grants[0] == Grant(
        id=derived_id(ORGANIZATION, "grant", "people"),
        name="people",
        principals=("user:*", "service_account:bot"),
        models=("gpt-*",),
        purposes=(Purpose.DEVELOPMENT, Purpose.EVAL),
        environments=("local",),
        limits=Limits(
            requests_per_minute=60,
            tokens_per_minute=100_000,
            budget_micro_usd=25_100_000,
            budget_period=BudgetPeriod.MONTH,
        ),
        maximum_lease_seconds=3600,
        content=ContentRecording.MASKED,
        objects=ObjectAccess.ALL,
    )
    assert bundle.trust_rules == (
        TrustRule(
            id=derived_id(ORGANIZATION, "trust", "ci"),
            name="ci",
            issuer="https://token.actions.githubusercontent.com",
            audience="keylease",
            claims={
                "repository_id": "123",
                "repository_owner_id": "456",
                "ref": "refs/heads/main",
            },
            principal="workload:ci",
            purposes=(Purpose.EVAL,),
            environments=("local",),
            models=("gpt-*",),
            subject_once=True,
            maximum_lease_seconds=600,
        ),
    )
    assert loaded.places[dev.id].line == 4


def test_an_empty_policy_is_valid_and_allows_nothing(tmp_path: Path) -> None:
    path = tmp_path / "keylease.toml"
    path.write_text("version = 1\n")
    bundle = load_policy(path, organization_id=ORGANIZATION, version=1, now=0)
    assert bundle == PolicyBundle(organization_id=ORGANIZATION, version=1, issued_at=0)


def test_identifiers_stay_the_same_from_one_reading_to_the_next(tmp_path: Path) -> None:
    first = read(tmp_path, FULL).bundle
    assert read(tmp_path, "# a comment\n" + FULL).bundle == first


def test_all_mistakes_come_in_one_go(tmp_path: Path) -> None:
    text = """\
[[credential]]
name = "openai-dev"
provider = "opnai"
reference = "seled://x"
purposes = ["eval", "production"]
[[credential]]
name = "openai-dev"
provider = "openai"
reference = "sealed://x"
purposes = ["evl"]
colour = "red"
[[route]]
name = "r"
models = ["*"]
targets = [{ credential = "openai-dv", weight = 0 }]
[[grant]]
name = "g"
principals = ["usr:*"]
models = []
purposes = ["eval"]
budget_usd = "1.0000001"
"""
    found = mistakes(tmp_path, text)
    assert [(d.line, d.column) for d in found] == [
        (4, 1), (5, 1), (6, 1), (8, 1), (11, 13), (12, 1), (16, 14), (16, 40), (19, 15), (20, 1),
        (22, 1),
    ]  # fmt: skip
    joined = "\n".join(map(str, found))
    for expected in (
        'Did you mean "openai"?',
        'Did you mean "sealed"?',
        "for eval or for production, never for both",
        'two credentials with the name "openai-dev". (The first is in line 2.)',
        'Did you mean "eval"?',
        'no setting "colour" in [credential]',
        'no credential "openai-dv". (Did you mean "openai-dev"?)',
        "weight must be from 1 to 1000000",
        '"usr:*" in principals is not a principal pattern',
        "models is empty",
        "an amount of USD",
    ):
        assert expected in joined


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rout]]\n", 'Did you mean "route"?'),
        ("[credential]\n", "credential must be a list of tables"),
        ("serve_when_spool_full = 1", "must be true or false"),
        (CREDENTIAL.replace('"dev"', '"a b"'), "name must be a name of letters"),
        (CREDENTIAL.replace('name = "dev"', ""), "name is missing"),
        (CREDENTIAL.replace('"local"', '"local-*"'), "without *"),
        (CREDENTIAL + 'id = "x"', "id must be a UUID"),
        (CREDENTIAL + 'upstream = "llm.internal"', "a base URL such as"),
        (CREDENTIAL.replace('"openai"', '"openai-compatible"', 1), "must name its upstream"),
        (CREDENTIAL + ROUTE.replace("targets", "target"), 'Did you mean "targets"?'),
        (CREDENTIAL + ROUTE.replace('[{ credential = "dev" }]', "[]"), "has no targets"),
        (CREDENTIAL + ROUTE.replace('[{ credential = "dev" }]', '["dev"]'), "a list of tables"),
        (CREDENTIAL + ROUTE + 'strategy = "orderd"', 'Did you mean "ordered"?'),
        (GRANT + "requests_per_minute = 0", "from 1 to"),
        (GRANT + "tokens_per_minute = 1.5", "must be a whole number"),
        (GRANT + "budget_usd = true", "must be text or a whole number or a number"),
        (GRANT + "budget_usd = nan", "an amount of USD"),
        (GRANT + "budget_usd = 1e999999999", "an amount of USD"),
        (GRANT + 'content = "all"', 'content cannot be "all"'),
        (GRANT + 'maximum_lease = "2d"', 'from "1s" to "24h"'),
        (GRANT.replace('["local"]', "[]"), "environments is empty"),
        (GRANT.replace('["gpt-4o"]', '["gpt 4o"]'), "a name or a pattern"),
        (GRANT + GRANT, 'two grants with the name "people"'),
        (TRUST.replace('"123"', "123"), 'must be text. (Write: repository_id = "..."'),
        (TRUST.replace('repository_id = "123",', ""), "claims.repository_id is missing"),
        (TRUST.replace('"workload:ci"', '"ci"'), "principal is not of the form"),
        (TRUST.replace('"keylease"', '"*"'), "audience has to be one exact value"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    assert message in "\n".join(map(str, mistakes(tmp_path, text)))


def test_one_secret_for_evals_and_production_is_refused(tmp_path: Path) -> None:
    other = CREDENTIAL.replace('"dev"', '"prod"').replace(
        '["development", "eval"]', '["production"]'
    )
    (found,) = mistakes(tmp_path, CREDENTIAL + other)
    assert "has the same secret as the production credential" in found.message
    assert found.line == 6


@pytest.mark.parametrize(
    "place",
    [
        'reference = "{}"',
        'upstream = "{}"',
        'extra = "{}"',
        'extra = ["{}"]',
        'extra = {{ key = "{}" }}',
        '"{}" = 1',
    ],
)
def test_what_looks_like_a_secret_is_refused_and_never_shown(tmp_path: Path, place: str) -> None:
    source = random.Random(5)  # noqa: S311 - a fake
    value = "sk-proj-" + "".join(source.choices(string.ascii_letters + string.digits, k=40))
    text = CREDENTIAL.replace('reference = "sealed://openai"', place.format(value))
    found = mistakes(tmp_path, text)
    assert "This looks like a secret" in "\n".join(map(str, found))
    assert value not in "\n".join(map(str, found))
    assert value[:16] not in repr(found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (CREDENTIAL, "No route leads to the credential"),
        (CREDENTIAL + ROUTE + GRANT.replace("gpt-4o", "claude-*"), "No route serves any model"),
        (
            CREDENTIAL + ROUTE + GRANT.replace('["local"]', '["prod"]'),
            "No credential on the routes of the grant",
        ),
        (
            CREDENTIAL + ROUTE + ROUTE.replace('"all"', '"narrow"').replace("gpt-*", "gpt-4o"),
            "This target is never used",
        ),
        (CREDENTIAL + ROUTE.replace('"dev" }', '"dev", weight = 2 }'), "no meaning on an ordered"),
        (CREDENTIAL + ROUTE + GRANT + 'budget_period = "day"', "without budget_usd"),
        (CREDENTIAL + ROUTE + GRANT + TRUST, "No grant is for the principal"),
    ],
)
def test_what_is_probably_not_meant_is_a_warning(tmp_path: Path, text: str, message: str) -> None:
    found = warnings(tmp_path, text)
    assert len(found) == 1
    assert message in found[0]


# --- both files together -------------------------------------------------------------------

BINDING = """
[[binding]]
reference = "sealed://*"
provider = "openai"
purposes = ["development"]
environments = ["local"]
"""


def together(tmp_path: Path, binding: str, policy: str = CREDENTIAL + ROUTE) -> list[Diagnostic]:
    path = tmp_path / "gateway.toml"
    path.write_text("version = 1\n" + binding)
    loaded = read(tmp_path, policy)
    return check_together(
        read_gateway(path).configuration, loaded.bundle, path="keylease.toml", places=loaded.places
    )


def test_credentials_that_no_binding_allows_are_named_with_the_part_that_fails(
    tmp_path: Path,
) -> None:
    (found,) = together(tmp_path, BINDING)
    assert 'the credential "dev" for the purpose eval' in found.message
    assert "for the purpose eval" in found.suggestion
    assert (found.path, found.line) == ("keylease.toml", 3)
    assert found.severity is Severity.WARNING


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("sealed://*", "sealed://other", "for its reference."),
        ('"openai"', '"anthropic"', "with the provider openai"),
        ('"local"', '"prod"', "for the environment local"),
        ('purposes = ["development"]', 'purposes = ["production"]', "for the purpose"),
        ('"openai"', '"openai"\nhosts = ["other.example"]', "for the host https://api.openai.com"),
    ],
)
def test_each_part_of_a_binding(tmp_path: Path, old: str, new: str, part: str) -> None:
    found = together(tmp_path, BINDING.replace(old, new))
    assert len(found) == 2
    assert any(part in item.suggestion for item in found)


def test_an_issuer_that_the_gateway_does_not_trust_is_named(tmp_path: Path) -> None:
    wide = BINDING.replace('["development"]', '["development", "eval"]')
    (found,) = together(tmp_path, wide, CREDENTIAL + ROUTE + TRUST)
    assert "does not trust the issuer of the rule" in found.message
    trusted = '[[trusted_issuer]]\nissuer = "https://token.actions.githubusercontent.com"\n'
    assert together(tmp_path, wide + trusted, CREDENTIAL + ROUTE + TRUST) == []


# --- the first files -----------------------------------------------------------------------


@pytest.mark.parametrize("variables", [(), ("OPENAI_API_KEY",), tuple(default_files.VARIABLES)])
def test_the_first_files_are_valid_and_fit_together(
    tmp_path: Path, variables: tuple[str, ...]
) -> None:
    gateway, policy = tmp_path / "c" / "gateway.toml", tmp_path / "c" / "keylease.toml"
    written = default_files.write_first_files(gateway, policy, variables=variables)
    assert written.gateway_written
    assert written.policy_written
    assert [path.stat().st_mode & 0o777 for path in (gateway, policy)] == [0o600, 0o600]
    assert gateway.parent.stat().st_mode & 0o777 == 0o700
    loaded = read_gateway(gateway)
    assert loaded.configuration.policy_file == str(policy)
    found = read_policy(policy, organization_id=ORGANIZATION, version=1, now=0)
    assert (loaded.warnings, found.warnings) == ((), ())
    assert check_together(loaded.configuration, found.bundle) == []
    references = [credential.reference for credential in found.bundle.credentials]
    assert sum(reference.startswith("env://") for reference in references) == len(variables)
    purposes = {purpose for c in found.bundle.credentials for purpose in c.purposes}
    assert Purpose.PRODUCTION not in purposes


def test_files_that_are_there_are_left_alone(tmp_path: Path) -> None:
    gateway, policy = tmp_path / "gateway.toml", tmp_path / 'odd "name\\.toml'
    gateway.write_text("mine")
    written = default_files.write_first_files(gateway, policy)
    assert (written.gateway_written, written.policy_written) == (False, True)
    assert gateway.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([gateway.name, policy.name])
    gateway.unlink()
    elsewhere = tmp_path / "elsewhere" / 'q"\\x.toml'
    default_files.write_first_files(gateway, elsewhere)
    assert read_gateway(gateway).configuration.policy_file == str(elsewhere)


# --- anything else -------------------------------------------------------------------------

FRAGMENTS = st.sampled_from(
    ["[", "]", "[[", "]]", "=", '"', "'", '"""', "\n", ",", "{", "}", ".", "#", "1", "true", "x",
     "9" * 5000, "1e999", "nan", "\\u0000", "\x00", "[[credential]]\n", "name = 1\n", "[grant]\n",
     "targets = [{}]\n", "reference = []\n", "purposes = {}\n", "*", "id = ''\n", "[[" * 200]
)  # fmt: skip


@given(st.data())
@settings(max_examples=500, deadline=None)
def test_no_file_raises_anything_but_its_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    directory = tmp_path_factory.getbasetemp()
    text = "version = 1\n" + data.draw(
        st.sampled_from([FULL, BINDING, default_files.gateway_text()])
    )
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(st.integers(0, len(text)))
        length = data.draw(st.sampled_from([0, 0, 1, 5, 30]))
        text = text[:place] + data.draw(FRAGMENTS) + text[place + length :]
    path = directory / "mutated.toml"
    path.write_text(text)
    lines = text.count("\n") + 1
    policy = partial(read_policy, path, organization_id=ORGANIZATION, version=1, now=0)
    for item in (
        *diagnostics_of(policy, PolicyFileInvalid),
        *diagnostics_of(partial(read_gateway, path), GatewayFileInvalid),
    ):
        assert item.line <= lines


def diagnostics_of(
    reading: Callable[[], LoadedPolicy | LoadedGateway], error: type[FileInvalid]
) -> tuple[Diagnostic, ...]:
    try:
        return reading().warnings
    except error as caught:
        return caught.diagnostics or pytest.fail("an error without a diagnostic")
