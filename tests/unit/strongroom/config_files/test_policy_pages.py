"""The pages about the two files are true: their examples are valid and no setting is missing."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from keylease.strongroom.config_files.default_files import gateway_text, policy_text
from keylease.strongroom.config_files.gateway_file import read_gateway
from keylease.strongroom.config_files.policy_checks import check_together
from keylease.strongroom.config_files.policy_file import read_policy
from keylease.strongroom.config_files.reader import Table

DOCS = Path(__file__).parents[4] / "docs"
ORGANIZATION = "0190a0b0-0000-7000-8000-000000000001"
EXAMPLE = re.compile(r"```toml\n(.*?)```", re.DOTALL)


def page(name: str) -> str:
    return (DOCS / "reference" / name).read_text()


def test_the_examples_are_valid(tmp_path: Path) -> None:
    gateway, policy = tmp_path / "gateway.toml", tmp_path / "keylease.toml"
    (text,) = EXAMPLE.findall(page("gateway-toml.md"))
    gateway.write_text(text)
    assert read_gateway(gateway).warnings == ()
    (text,) = EXAMPLE.findall(page("keylease-toml.md"))
    policy.write_text(text)
    assert read_policy(policy, organization_id=ORGANIZATION, version=1, now=0).warnings == ()


@pytest.mark.parametrize("which", ["gateway-toml.md", "keylease-toml.md"])
def test_every_setting_is_on_its_page(
    which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: set[str] = set()
    original = Table.take

    def take(table: Table, key: str) -> object:
        asked.add(key)
        return original(table, key)

    monkeypatch.setattr(Table, "take", take)
    path = tmp_path / "file.toml"
    if which == "gateway-toml.md":
        path.write_text(gateway_text() + "\n[[trusted_issuer]]\nissuer = 'https://a'\n")
        read_gateway(path)
    else:
        (text,) = EXAMPLE.findall(page(which))
        path.write_text(text)
        read_policy(path, organization_id=ORGANIZATION, version=1, now=0)
    assert len(asked) > 20
    text = page(which)
    missing = [key for key in asked if not re.search(rf"[`\[{{. ]{key}[`\]}},. ]", text)]
    assert missing == []


def test_the_first_files_name_only_settings_and_fit_together(tmp_path: Path) -> None:
    assert tomllib.loads(gateway_text())["version"] == 1
    assert tomllib.loads(policy_text())["version"] == 1
    gateway, policy = tmp_path / "gateway.toml", tmp_path / "keylease.toml"
    gateway.write_text(gateway_text())
    policy.write_text(policy_text())
    bundle = read_policy(policy, organization_id=ORGANIZATION, version=1, now=0).bundle
    assert check_together(read_gateway(gateway).configuration, bundle) == []
