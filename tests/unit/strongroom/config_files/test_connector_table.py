"""[[connector]] and [[verification]] of gateway.toml: what is read, and every mistake in its place,
with its reason and what to write instead.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from keylease.errors import Diagnostic, GatewayFileInvalid, Severity
from keylease.strongroom.config_files.connector_table import SYSTEMS
from keylease.strongroom.config_files.gateway_file import read_gateway
from keylease.strongroom.configuration import (
    ConnectorSettings,
    GatewayConfiguration,
    VerificationSettings,
)
from keylease.strongroom.connectors import registry


def read(tmp_path: Path, text: str) -> GatewayConfiguration:
    path = tmp_path / "gateway.toml"
    path.write_text(f"version = 1\n{text}")
    loaded = read_gateway(path)
    assert loaded.warnings == ()
    return loaded.configuration


def mistake(tmp_path: Path, text: str) -> Diagnostic:
    with pytest.raises(GatewayFileInvalid) as caught:
        read(tmp_path, text)
    found = [d for d in caught.value.diagnostics if d.severity is Severity.ERROR]
    assert len(found) == 1, found
    return found[0]


GITHUB = """[[connector]]
system = "github"
reference = "sealed://gh"
account = "acme"
"""


def test_every_setting_of_a_connector_arrives(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        GITHUB
        + """
[[connector]]
name = "vault-eu"
system = "vault"
reference = "file:///run/token"
account = "secret/team"
url = "http://10.0.0.1:8200"
allow_private_address = true
ca_file = "ca.pem"
vendor = "Our Vault"
namespace = "team-a/prod"
""",
    )
    assert found.connectors == (
        ConnectorSettings(name="github", system="github", reference="sealed://gh", account="acme"),
        ConnectorSettings(
            name="vault-eu",
            system="vault",
            reference="file:///run/token",
            account="secret/team",
            url="http://10.0.0.1:8200",
            allow_private_address=True,
            ca_file=str(tmp_path / "ca.pem"),
            vendor="Our Vault",
            namespace="team-a/prod",
        ),
    )


def test_aws_signs_in_by_itself(tmp_path: Path) -> None:
    (found,) = read(
        tmp_path, '[[connector]]\nsystem = "aws-sm"\naccount = "eu-west-1"\n'
    ).connectors
    assert (found.reference, found.account) == ("", "eu-west-1")


def test_aws_may_assume_a_role(tmp_path: Path) -> None:
    role = "arn:aws-cn:iam::123456789012:role/teams/keylease@list"
    text = f'[[connector]]\nsystem = "aws-sm"\naccount = "eu-west-1"\nrole = "{role}"\n'
    assert read(tmp_path, text).connectors[0].role == role


def test_the_table_knows_the_connectors_that_there_are() -> None:
    assert set(SYSTEMS) == {kind.system for kind in registry.SYSTEMS}
    for kind in registry.SYSTEMS:
        assert SYSTEMS[kind.system] is (not kind.origin and kind.system != "aws-sm")


MISTAKES = [
    # what is written, line, part of the reason, part of the suggestion
    (GITHUB.replace("github", "gihtub"), 3, 'no connector for "gihtub"', "github"),
    (GITHUB.replace('system = "github"\n', ""), 2, "system is missing", '"github"'),
    (GITHUB.replace('"github"', "7"), 3, "system", ""),
    (GITHUB.replace('reference = "sealed://gh"\n', ""), 2, "reference is missing", ""),
    (GITHUB.replace("sealed://gh", "gh-token"), 4, "", ""),
    (GITHUB.replace("sealed://gh", "sealt://gh"), 4, "", "sealed"),
    (GITHUB.replace('account = "acme"\n', ""), 2, "account is missing", "my-organization"),
    (GITHUB + 'url = "github.example.com"\n', 6, "https://", "https://"),
    (GITHUB + 'url = "http://10.0.0.1"\n', 6, "https://", "https://"),
    (GITHUB + 'url = "https://user:pw@github.example.com"\n', 6, "https://", ""),
    (GITHUB + 'url = "https://github.example.com/?to=x"\n', 6, "https://", ""),
    (GITHUB + 'allow_private_address = "yes"\n', 6, "allow_private_address", "true"),
    (GITHUB + 'ca_file = "~/ca.pem"\n', 6, "ca_file", ""),
    (GITHUB + 'name = "Git Hub"\n', 6, "lower-case", "Git Hub"),
    (GITHUB + "value = true\n", 6, "value", ""),
    (GITHUB + 'namespace = "team-a"\n', 6, 'setting of "vault" only', "Leave it out"),
    (GITHUB + 'namespace = "a b"\n', 6, "namespace", "team-a/prod"),
    (GITHUB + 'role = "arn:aws:iam::123456789012:user/x"\n', 6, "role", "arn:aws:iam"),
    (GITHUB + 'role = "arn:aws:iam::123456789012:role/x"\n', 6, 'setting of "aws-sm"', "Leave"),
    (GITHUB + GITHUB, 6, 'two connectors "github"', 'name = "github-2"'),
    (GITHUB.replace("[[connector]]", "[connector]"), 2, "list of tables", "[[connector]]"),
    (
        '[[connector]]\nsystem = "vault"\nreference = "sealed://v"\naccount = "secret"\n',
        2,
        "url is missing",
        "https://",
    ),
    ('[[verification]]\nprovider = "gitlap"\nurl = "https://g.example"\n', 3, "gitlap", "gitlab"),
    ('[[verification]]\nprovider = "gitlab"\n', 2, "url is missing", "https://"),
    ('[[verification]]\nurl = "https://g.example"\n', 2, "provider is missing", "gitlab"),
    ('[[verification]]\nprovider = "gitlab"\nurl = "http://127.0.0.1"\n', 4, "https://", ""),
    ('[[verification]]\nprovider = "gitlab"\nurl = "https://g"\nhost = "x"\n', 5, "host", ""),
    (
        2 * '[[verification]]\nprovider = "gitlab"\nurl = "https://g"\n',
        6,
        "two tables",
        "Leave one",
    ),
    ('[verification]\nprovider = "gitlab"\n', 2, "list of tables", "[[verification]]"),
]


@pytest.mark.parametrize(("text", "line", "reason", "suggestion"), MISTAKES)
def test_a_mistake_is_told_where_it_is_and_what_to_write(
    tmp_path: Path, text: str, line: int, reason: str, suggestion: str
) -> None:
    found = mistake(tmp_path, text)
    assert found.line == line, found
    assert reason in found.message
    assert suggestion in found.message + found.suggestion
    assert found.message


def test_a_reference_that_is_a_key_is_not_repeated(tmp_path: Path) -> None:
    pasted = "ghp" + "_" + "a1B2" * 9
    found = mistake(tmp_path, GITHUB.replace("sealed://gh", pasted))
    assert pasted not in str(found)


def test_where_a_provider_is_asked_is_read(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        '[[verification]]\nprovider = "gitlab"\nurl = "https://gitlab.example.com"\n'
        '[[verification]]\nprovider = "openai"\nurl = "http://127.0.0.1:9"\n'
        'allow_private_address = true\nca_file = "ca.pem"\n',
    )
    assert found.verification == (
        VerificationSettings(provider="gitlab", url="https://gitlab.example.com"),
        VerificationSettings(
            provider="openai",
            url="http://127.0.0.1:9",
            allow_private_address=True,
            ca_file=str(tmp_path / "ca.pem"),
        ),
    )
