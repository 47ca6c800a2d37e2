"""What a configuration leaves open is said in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from keylease.contracts.policy import Credential, Grant, Limits, PolicyBundle
from keylease.contracts.purposes import Purpose
from keylease.primitives.confinement.measures import Measure
from keylease.strongroom.configuration import (
    Address,
    Binding,
    GatewayConfiguration,
    Origin,
    StoreSettings,
)
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.hardening.weaknesses import (
    weaknesses_of_configuration,
    weaknesses_of_policy,
    weaknesses_of_process,
)

SAFE = GatewayConfiguration(path="/etc/keylease/gateway.toml")


def binding(scheme: str, host: str) -> Binding:
    return Binding(
        id="binding:1",
        reference="env://*",
        provider="openai-compatible",
        origins=(Origin(scheme, host, 80),),
        listed=True,
        purposes=(Purpose.DEVELOPMENT,),
        environments=("*",),
    )


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"listen": (Address("0.0.0.0", 4141),)}, "gateway listens on 0.0.0.0 without TLS"),  # noqa: S104 - said to be unsafe
        ({"listen": (Address("::", 4141),)}, "gateway listens on :: without TLS"),
        ({"metrics": Address("192.0.2.1", 1)}, "metrics are served on 192.0.2.1"),
        ({"bindings": (binding("http", "10.0.0.7"),)}, "binding:1 sends its key to 10.0.0.7"),
        ({"stores": StoreSettings(grace_seconds=60)}, "grace period of 60 s"),
        ({"policy_file": "/etc/keylease.toml"}, "/etc/keylease.toml is not read again"),
        (
            {"stores": StoreSettings(vault_token_file="/home/user/.vault-token")},
            "/home/user/.vault-token is not read again",
        ),
        ({"maximum_lease_seconds": 3600}, "leases may live 60 minutes"),
    ],
)
def test_what_gateway_toml_leaves_open(change: dict[str, Any], expected: str) -> None:
    assert weaknesses_of_configuration(SAFE) == ()
    (found,) = weaknesses_of_configuration(msgspec.structs.replace(SAFE, **change))
    assert expected in found


@pytest.mark.parametrize(
    "change",
    [
        {"listen": (Address("::1", 4141), Address("localhost", 1), Address("127.9.9.9", 2))},
        {"listen": (Address("0.0.0.0", 1),), "tls_certificate_file": "/cert"},  # noqa: S104 - with TLS
        {"bindings": (binding("http", "127.0.0.1"), binding("https", "10.0.0.7"))},
        {"policy_file": "/etc/keylease/keylease.toml"},
    ],
)
def test_what_is_no_weakness(change: dict[str, Any]) -> None:
    assert weaknesses_of_configuration(msgspec.structs.replace(SAFE, **change)) == ()


def test_secret_files_that_everybody_can_read(tmp_path: Path) -> None:
    (tmp_path / "open").write_text("x")
    (tmp_path / "open").chmod(0o644)
    (tmp_path / "closed").write_text("x")
    (tmp_path / "closed").chmod(0o600)
    stores = StoreSettings(file_directories=(str(tmp_path), "/not/there"))
    (found,) = weaknesses_of_configuration(msgspec.structs.replace(SAFE, stores=stores))
    assert str(tmp_path / "open") in found


def grant(name: str, **changes: Any) -> Grant:  # noqa: ANN401 - fields of a grant
    values: dict[str, Any] = {
        "id": name,
        "name": name,
        "principals": ("user:*",),
        "models": ("*",),
        "purposes": (Purpose.DEVELOPMENT,),
        "environments": ("*",),
    }
    return Grant(**{**values, **changes})


def test_what_a_policy_leaves_open() -> None:
    bundle = PolicyBundle(
        organization_id="o",
        version=1,
        issued_at=0,
        grants=(
            grant("dev"),
            grant("ops"),
            grant("held", limits=Limits(requests_per_minute=5)),
            grant("shared", budgets=("a budget",)),
            grant("all", principals=("*",), limits=Limits(budget_micro_usd=1)),
        ),
        credentials=(
            Credential(
                id="c", name="plain", provider="openai-compatible", reference="env://A",
                purposes=(), environment="x", upstream="http://models.example/v1",
            ),
            Credential(
                id="d", name="near", provider="openai-compatible", reference="env://A",
                purposes=(), environment="x", upstream="http://localhost:8000/v1",
            ),
        ),
    )  # fmt: skip
    assert weaknesses_of_policy(bundle) == (
        "leases without limits: grant 'dev', 'ops'",
        "grant 'all' is open to every principal",
        "credential 'plain' is sent without TLS",
    )


def measure(name: str, *, on: bool) -> Measure:
    return Measure(name=name, on=on, reason="because")


def test_zones_that_are_not_isolated_are_never_passed_over() -> None:
    off = (measure("own user", on=False), measure("confined by Landlock", on=False))
    (found,) = weaknesses_of_process(off, shares_environment=False)
    assert found.startswith("zones not isolated")
    assert "zones not isolated" in Posture(measures=off, warnings=(found,)).in_words()
    for index in range(2):
        one = tuple(measure(m.name, on=i == index) for i, m in enumerate(off))
        assert weaknesses_of_process(one, shares_environment=False) == ()
        assert "zones isolated: " in Posture(measures=one).in_words()
    (shared,) = weaknesses_of_process((measure("own user", on=True),), shares_environment=True)
    assert "shares its Python environment" in shared


def test_the_posture_is_one_line() -> None:
    posture = Posture(
        measures=(measure("memory locked", on=False), measure("not dumpable", on=True)),
        warnings=("something",),
    )
    assert posture.in_words() == (
        "posture: not dumpable; memory locked off: because; WARNING something"
    )
