"""The configuration in docs/guides/token-exchange.md is read as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.support.lease_kit import ORGANIZATION

from keylease.primitives.clock import SystemClock
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.config_files.policy_file import load_policy
from keylease.strongroom.leases.rules import check_rule

GUIDE = Path(__file__).parents[3] / "docs" / "guides" / "token-exchange.md"
BLOCKS = re.findall(r"^```toml (\w+)\n(.*?)^```", GUIDE.read_text(), flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("kind", "text"), BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_read(tmp_path: Path, kind: str, text: str) -> None:
    path = tmp_path / "file.toml"
    path.write_text(text)
    if kind == "gateway":
        configuration = load_gateway(path)
        assert configuration.trusted_issuers or configuration.public_urls
    else:
        bundle = load_policy(path, organization_id=ORGANIZATION, version=1, now=SystemClock().now())
        assert [check_rule(rule) for rule in bundle.trust_rules] == [[], []]
        assert [rule.subject_once for rule in bundle.trust_rules] == [True, False]


def test_there_are_blocks() -> None:
    assert [kind for kind, _ in BLOCKS] == ["gateway", "gateway", "policy"]
