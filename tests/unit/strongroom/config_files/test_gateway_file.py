"""gateway.toml is read into its frozen form, or refused with every mistake in its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from keylease.contracts.purposes import Purpose
from keylease.errors import Diagnostic, GatewayFileInvalid, Severity
from keylease.strongroom.config_files.gateway_file import LoadedGateway, load_gateway, read_gateway
from keylease.strongroom.configuration import (
    Address,
    Binding,
    GatewayConfiguration,
    Origin,
    TrustedIssuer,
)


def read(tmp_path: Path, text: str, *, version: str = "version = 1\n") -> LoadedGateway:
    path = tmp_path / "gateway.toml"
    path.write_text(version + text)
    return read_gateway(path)


def mistakes(tmp_path: Path, text: str, *, version: str = "version = 1\n") -> list[Diagnostic]:
    with pytest.raises(GatewayFileInvalid) as caught:
        read(tmp_path, text, version=version)
    assert caught.value.exit_status == 64
    found = [d for d in caught.value.diagnostics if d.severity is Severity.ERROR]
    assert found
    assert all(str(item) in caught.value.message for item in found)
    return found


FULL = """\
[gateway]
group = "eu-1"
listen = ["127.0.0.1:4141", "[::1]:4141"]
metrics = "127.0.0.1:9100"
workers = 4
policy = "policies/keylease.toml"
signing_key = "vault://secret/keylease#signing"
maximum_lease = "1h"
tls_certificate = "/etc/tls/cert.pem"
tls_key = "key.pem"
upstream_ca = "ca.pem"

[[binding]]
reference = "vault://secret/ai/**"
provider = "openai"
purposes = ["production"]
environments = ["production", "staging-*"]
maximum_usd_per_day = "25.10"

[[binding]]
reference = "sealed://local"
provider = "openai-compatible"
hosts = ["http://127.0.0.1:9000", "llm.internal:8443"]
purposes = ["eval", "development"]

[[trusted_issuer]]
issuer = "https://token.actions.githubusercontent.com"

[[trusted_issuer]]
issuer = "https://kubernetes.default.svc"
jwks_url = "https://kubernetes.default.svc/openid/v1/jwks"
allow_private_address = true
ca_file = "/var/run/ca.crt"

[stores]
maximum_age = "2m"
grace = "30s"
timeout = "3s"
attempts = 2
file_directories = ["/run/secrets"]

[stores.sealed]
passphrase_file = "/run/passphrase"

[stores.vault]
address = "https://vault.internal:8200"
namespace = "team"
auth = "approle"
auth_mount = "approle-ci"
role_id_file = "role-id"
secret_id_file = "secret-id"

[stores.aws]
endpoint = "http://127.0.0.1:5000"
version_stage = "AWSPENDING"

[limits]
header_size = "32 KiB"
body_size = "1 MiB"
upload_size = "2 MiB"
header_timeout = "5s"
body_timeout = "6s"
idle_timeout = "7s"
upstream_connect_timeout = "8s"
upstream_response_timeout = "9s"
upstream_connections = 10
client_connections = 11
drain_timeout = "12s"

[spool]
maximum_size = "64 MiB"
otlp_endpoint = "http://127.0.0.1:4318"
otlp_headers_file = "headers"
otlp_allow_private_address = true
"""


def test_every_setting_arrives(tmp_path: Path) -> None:
    loaded = read(tmp_path, FULL)
    found = loaded.configuration
    assert loaded.warnings == ()
    assert found.path == str(tmp_path / "gateway.toml")
    assert found.group == "eu-1"
    assert found.listen == (Address("127.0.0.1", 4141), Address("::1", 4141))
    assert found.metrics == Address("127.0.0.1", 9100)
    assert found.workers == 4
    assert found.policy_file == str(tmp_path / "policies" / "keylease.toml")
    assert found.signing_key == "vault://secret/keylease#signing"
    assert found.maximum_lease_seconds == 3600
    assert found.tls_certificate_file == "/etc/tls/cert.pem"
    assert found.tls_key_file == str(tmp_path / "key.pem")
    assert found.upstream_ca_file == str(tmp_path / "ca.pem")
    assert found.bindings == (
        Binding(
            id="binding:1",
            reference="vault://secret/ai/**",
            provider="openai",
            origins=(Origin("https", "api.openai.com", 443),),
            listed=False,
            purposes=(Purpose.PRODUCTION,),
            environments=("production", "staging-*"),
            maximum_micro_usd_per_day=25_100_000,
        ),
        Binding(
            id="binding:2",
            reference="sealed://local",
            provider="openai-compatible",
            origins=(Origin("http", "127.0.0.1", 9000), Origin("https", "llm.internal", 8443)),
            listed=True,
            purposes=(Purpose.EVAL, Purpose.DEVELOPMENT),
            environments=("*",),
        ),
    )
    assert found.trusted_issuers[1] == TrustedIssuer(
        issuer="https://kubernetes.default.svc",
        jwks_url="https://kubernetes.default.svc/openid/v1/jwks",
        allow_private_address=True,
        ca_file="/var/run/ca.crt",
    )
    stores, limits, spool = found.stores, found.limits, found.spool
    assert (stores.maximum_age_seconds, stores.grace_seconds, stores.timeout_seconds) == (
        120,
        30,
        3,
    )
    assert stores.file_directories == ("/run/secrets",)
    assert stores.sealed_passphrase_file == "/run/passphrase"
    assert stores.vault_auth == "approle"
    assert stores.vault_role_id_file == str(tmp_path / "role-id")
    assert stores.aws_version_stage == "AWSPENDING"
    assert (limits.header_bytes, limits.body_bytes) == (32 * 1024, 1024**2)
    assert (limits.upstream_connections, limits.client_connections) == (10, 11)
    assert (limits.idle_seconds, limits.drain_seconds) == (7, 12)
    assert spool.maximum_bytes == 64 * 1024**2
    assert spool.otlp_allow_private_address
    assert loaded.places["binding:2"].line == text_line(FULL, 'reference = "sealed://local"') - 1


def text_line(text: str, needle: str) -> int:
    return ("version = 1\n" + text)[: ("version = 1\n" + text).index(needle)].count("\n") + 1


def test_an_empty_file_is_valid_and_refuses_all(tmp_path: Path) -> None:
    found = load_gateway_text(tmp_path, "")
    assert found.bindings == ()
    assert found.policy_file == str(tmp_path / "keylease.toml")
    assert found == GatewayConfiguration(path=found.path, policy_file=found.policy_file)


def load_gateway_text(tmp_path: Path, text: str) -> GatewayConfiguration:
    path = tmp_path / "gateway.toml"
    path.write_text("version = 1\n" + text)
    return load_gateway(path)


@pytest.mark.parametrize("name", ["hosts", "environments", "purposes"])
def test_an_empty_list_is_no_way_to_say_anything(tmp_path: Path, name: str) -> None:
    """Above all not the opposite: a binding without hosts goes to the provider's own."""
    lists = {"purposes": '["eval"]', name: "[]"}
    text = '[[binding]]\nreference = "sealed://a"\nprovider = "openai"\n'
    text += "".join(f"{key} = {value}\n" for key, value in lists.items())
    (found,) = mistakes(tmp_path, text)
    assert f"{name} is empty" in found.message


def test_metrics_can_be_switched_off(tmp_path: Path) -> None:
    assert load_gateway_text(tmp_path, "[gateway]\nmetrics = false\n").metrics is None


def test_every_mistake_is_reported_in_one_go_with_line_and_column(tmp_path: Path) -> None:
    text = """\
[gateway]
listne = "127.0.0.1:1"
  workers = 0
maximum_lease = "15 minutes"

[[binding]]
reference = "vualt://secret/x#y"
provider = "opanai"
purposes = ["evl"]
hosts = ["api.openai.com", "https://a/b"]
[[binding]]
provider = "openai"
purposes = []
"""
    found = [(d.line, d.column, d.message, d.suggestion) for d in mistakes(tmp_path, text)]
    assert [(line, column) for line, column, _, _ in found] == [
        (3, 1), (4, 3), (5, 1), (8, 1), (9, 1), (10, 13), (11, 28), (12, 1), (14, 1),
    ]  # fmt: skip
    joined = "\n".join(f"{message} {suggestion}" for _, _, message, suggestion in found)
    for expected in (
        'There is no setting "listne" in [gateway]. Did you mean "listen"?',
        "workers must be from 1 to 64.",
        'maximum_lease must be a duration such as "90s"',
        'Did you mean "vault"?',
        'There is no provider "opanai". Did you mean "openai"?',
        'purposes cannot hold "evl". Did you mean "eval"?',
        '"https://a/b" in hosts is not a host',
        'reference is missing. Write: reference = "sealed://openai-*"',
        "purposes is empty.",
    ):
        assert expected in joined


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", 'no setting "x".'),
        ("gateway = 1", "gateway must be a table"),
        ("[[gateway]]", "gateway must be a table"),
        ("binding = 1", "binding must be a list of tables"),
        ("[binding]", "binding must be a list of tables"),
        ("[gateway]\nlisten = []", "listen is empty"),
        ("[gateway]\nlisten = 4141", "listen must be a list of texts"),
        ("[gateway]\nlisten = 'nowhere'", "an address such as"),
        ("[gateway]\nmetrics = '0.0.0.0:1'", "an address of this machine"),
        ("[gateway]\nmetrics = true", "metrics must be text"),
        ("[gateway]\nmetrics = '127.0.0.1:4141'", "the same address"),
        ("[gateway]\nworkers = true", "workers must be a whole number"),
        ("[gateway]\nworkers = '2'", "workers must be a whole number"),
        ("[gateway]\nworkers = 2.0", "workers must be a whole number"),
        ("[gateway]\ngroup = 'a b'", "group must be a name"),
        ("[gateway]\ntls_key = 'x'", "tls_key is given without tls_certificate"),
        ("[gateway]\ntls_certificate = 'x'", "tls_certificate is given without tls_key"),
        ("[gateway]\npolicy = '~/x'", "without ~"),
        ("[gateway]\npolicy = ''", "policy must be a path"),
        ("[gateway]\nplatform = 'https://x'", "table of its own"),
        ("[platform]\nurl = 'http://keylease.example.com'", "only be on this machine"),
        ("[platform]\nurl = 'https://keylease.example.com/path'", "without a path"),
        ("[platform]\npolicy_key = 'sha256:ab'", "fingerprint"),
        ("[platform]\nurl = 'https://x.example.com'\nmaximum_bundle_age = '8d'", "from 1s"),
        (
            "[gateway]\npolicy = 'keylease.toml'\n[platform]\nurl = 'https://x.example.com'",
            "not from both",
        ),
        ("[static_keys]\npurpose = 'production'\nenvironment = 'local'", "eval or development"),
        ("[gateway]\ntls_client_ca = 'clients.pem'", "only where this gateway has one"),
        ("[static_keys]\npurpose = 'eval'", "environment is missing"),
        ("[static_keys]\npurpose = 'eval'\nenvironment = 'ci-*'", "one plain name"),
        ("[gateway]\nsigning_key = 'x'", "a reference to a secret store"),
        ("[gateway]\nmaximum_lease = '25h'", 'from "1s" to "24h"'),
        ("[gateway]\nmaximum_lease = '0s'", 'from "1s" to "24h"'),
        ("[stores]\nattempts = 0", "from 1 to 10"),
        ("[stores]\nmaximum_age = 5", "maximum_age must be text"),
        ("[stores]\nfile_directories = ['run']", "an absolute path"),
        ("[stores]\nfile_directories = ['/a/../b']", "an absolute path"),
        ("[stores]\nvault = 1", "vault must be a table"),
        ("[stores.valut]\naddress = 'x'", 'no setting "valut" in [stores]. '),
        ("[stores.vault]\nauth = 'tokn'", 'Did you mean "token"?'),
        ("[stores.vault]\naddress = 'https://v'\nauth = 'jwt'", "needs role."),
        ("[stores.vault]\naddress = 'https://v'\nauth = 'jwt'", "needs jwt_file."),
        ("[stores.vault]\nnamespace = 'x'", "address is missing"),
        ("[stores.vault]\naddress = 'vault:8200'", "an address that begins with"),
        ("[stores.vault]\naddress = 'https://u:p@v'", "an address that begins with"),
        ("[stores.vault]\naddress = 'https://[v'", "an address that begins with"),
        ("[stores.sealed]\nkey_file = 'a'\npassphrase_file = 'b'", "not both"),
        ("[limits]\nbody_size = '1 TB'", "a size such as"),
        ("[limits]\nbody_size = '1'", "from 1 KiB"),
        ("[limits]\nidle_timeout = '2d'", "from 0.001s to 86400s"),
        ("[spool]\nmaximum_size = 5", "at least 1 MiB"),
        ("[[trusted_issuer]]\nissuer = 'http://a'", "begins with https://"),
        ("[[trusted_issuer]]\nissuer = 'https://a'\n[[trusted_issuer]]\nissuer = 'https://a'",
         "listed twice"),
        ("[[trusted_issuer]]\n", "issuer is missing"),
    ],
)  # fmt: skip
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    assert message in "\n".join(map(str, mistakes(tmp_path, text)))


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("openai", "does not begin with the name of a store"),
        ("*", "does not begin with the name of a store"),
        ("*://x", "does not begin with the name of a store"),
        ("vault://secret/x", "names no field"),
        ("vault://secret/*", 'Write: reference = "vault://secret/*#*"'),
        ("sealed://a*#b", "has no #field"),
        ("sealed://a***", "no pattern"),
        ("sealed://", "is not of the form"),
        ("file:///a/../b", "is not of the form"),
    ],
)
def test_reference_patterns_that_match_nothing(
    tmp_path: Path, reference: str, message: str
) -> None:
    text = f"[[binding]]\nreference = '{reference}'\nprovider = 'openai'\npurposes = 'eval'\n"
    assert message in "\n".join(map(str, mistakes(tmp_path, text)))


@pytest.mark.parametrize(
    "reference",
    ["sealed://**", "env://OPENAI_*", "file:///run/secrets/**", "vault://secret/**",
     "vault://secret/*#key", "aws-sm://eu-west-1/ai/*", "keyring://keylease/*"],
)  # fmt: skip
def test_reference_patterns(tmp_path: Path, reference: str) -> None:
    text = f"[[binding]]\nreference = '{reference}'\nprovider = 'openai'\npurposes = 'eval'\n"
    assert load_gateway_text(tmp_path, text).bindings[0].reference == reference


def test_a_provider_without_a_host_of_its_own_needs_one(tmp_path: Path) -> None:
    text = "[[binding]]\nreference='sealed://x'\nprovider='openai-compatible'\npurposes='eval'"
    assert "must name its hosts" in str(mistakes(tmp_path, text)[0])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('purposes = ["eval", "production"]', "serves eval and production alike"),
        ('purposes = ["eval", "eval"]', "listed twice"),
        ('purposes = ["eval"]\nhosts = ["http://llm.internal"]', "without TLS"),
    ],
)
def test_warnings_do_not_stop_the_start(tmp_path: Path, more: str, message: str) -> None:
    text = f'[[binding]]\nreference = "sealed://x"\nprovider = "openai"\n{more}\n'
    loaded = read(tmp_path, text)
    assert [item.severity for item in loaded.warnings] == [Severity.WARNING]
    assert message in loaded.warnings[0].message


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("", "does not say its version"),
        ("version = 2\n", "newer than this program"),
        ('version = "1"\n', "must be a whole number"),
        ("version = true\n", "must be a whole number"),
        ("version = 0\n", "must be a whole number"),
    ],
)
def test_the_version_is_checked(tmp_path: Path, version: str, message: str) -> None:
    assert message in str(mistakes(tmp_path, "[gateway]\n", version=version)[0])


@pytest.mark.parametrize(
    ("content", "line", "message"),
    [
        (b"version = 1\nx = \n", 2, "Invalid value"),
        (b"version = 1\n[a\n", 2, "not valid TOML"),
        (b"version = 1\nversion = 2\n", 2, "not valid TOML"),
        (b"version = 1\n\xff\n", 2, "not UTF-8"),
        (b"x = " + b"9" * 5000, 0, "a number that is too long"),
        (b"x = " + b"[" * 5000, 0, "nested too deeply"),
        (b"#" * (1024 * 1024 + 1), 0, "larger than"),
    ],
)
def test_what_is_no_toml_is_one_mistake_with_its_line(
    tmp_path: Path, content: bytes, line: int, message: str
) -> None:
    path = tmp_path / "gateway.toml"
    path.write_bytes(content)
    with pytest.raises(GatewayFileInvalid) as caught:
        read_gateway(path)
    (found,) = caught.value.diagnostics
    assert (found.line, message in found.message) == (line, True)


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(GatewayFileInvalid, match="no such file"):
        read_gateway(tmp_path / "gateway.toml")
    with pytest.raises(GatewayFileInvalid, match="is a directory"):
        read_gateway(tmp_path)


def test_an_unquoted_secret_is_not_repeated(tmp_path: Path) -> None:
    value = "sk" + "-proj-" + "a1B2" * 10
    for text in (
        f"[gateway]\ngroup = {value}\n",
        f"{value} = 1\n",
        f'[[binding]]\nx = "{value}"\n',
    ):
        with pytest.raises(GatewayFileInvalid) as caught:
            read(tmp_path, text)
        assert value not in str(caught.value)
        assert value not in repr(caught.value.diagnostics)
