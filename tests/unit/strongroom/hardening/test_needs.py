"""What a confined gateway can still read: also the file that took the place of another one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from keylease.primitives.confinement.landlock import landlock_abi
from keylease.strongroom import startup
from keylease.strongroom.configuration import (
    KUBERNETES_TOKEN_FILE,
    GatewayConfiguration,
    StoreSettings,
)
from keylease.strongroom.hardening.needs import (
    configured_files,
    directories_of,
    files_among_others,
    replaced_files,
)

PLAIN = GatewayConfiguration(path="/etc/keylease/gateway.toml", signing_key="vault://a/b#c")

CONFINED = """
import sys
from pathlib import Path
from keylease.primitives.confinement.interpreter import interpreter_needs
from keylease.primitives.confinement.landlock import Confinement, confine
from keylease.strongroom.hardening.needs import directories_of

token = Path(sys.argv[1])
needs = interpreter_needs()
confine(Confinement(readable=(*needs.readable, str(token), *directories_of([token]))))
print("confined", flush=True)
sys.stdin.readline()
print(token.read_text())
"""


def with_stores(**settings: str) -> GatewayConfiguration:
    return msgspec.structs.replace(PLAIN, stores=msgspec.convert(settings, StoreSettings))


def test_a_pods_own_token_is_reached_with_its_directory() -> None:
    found = with_stores(vault_address="https://vault.example", vault_auth="kubernetes")
    assert KUBERNETES_TOKEN_FILE in configured_files(found)
    assert str(Path(KUBERNETES_TOKEN_FILE).parent) in replaced_files(found)
    assert files_among_others(found) == ()


@pytest.mark.parametrize(
    "settings",
    [
        {"vault_auth": "kubernetes"},
        {"vault_address": "https://vault.example", "vault_auth": "jwt", "vault_jwt_file": "/a/b/c"},
        {
            "vault_address": "https://vault.example",
            "vault_auth": "kubernetes",
            "vault_jwt_file": "/a/b/c",
        },
    ],
)
def test_nor_is_it_open_for_anything_else(settings: dict[str, str]) -> None:
    found = with_stores(**settings)
    assert KUBERNETES_TOKEN_FILE not in configured_files(found)
    assert str(Path(KUBERNETES_TOKEN_FILE).parent) not in replaced_files(found)


@pytest.mark.parametrize(
    "variable", ["AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
)
def test_so_are_the_tokens_of_the_aws_chain(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, variable, "/var/run/secrets/eks.amazonaws.com/one/token")
    files = startup._store_files(msgspec.structs.replace(PLAIN, signing_key="aws-sm://*"))
    assert "/var/run/secrets/eks.amazonaws.com/one" in files
    assert startup._store_files(PLAIN) == (), "without a store on AWS nothing of it is open"


def test_a_directory_with_much_else_is_not_opened() -> None:
    assert directories_of([Path("/home/you/token"), Path("/tmp/token")]) == ()  # noqa: S108 - no file is made


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_a_swapped_token_is_read_by_a_confined_process(tmp_path: Path) -> None:
    for name, content in (("..one", "old"), ("..two", "new")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(content)
    (tmp_path / "..data").symlink_to("..one")
    token = tmp_path / "token"
    token.symlink_to("..data/token")
    with subprocess.Popen(
        [sys.executable, "-c", CONFINED, str(token)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "confined\n"
        (tmp_path / "..next").symlink_to("..two")
        (tmp_path / "..next").rename(tmp_path / "..data")
        said, _ = process.communicate("\n", timeout=60)
    assert said == "new\n"
