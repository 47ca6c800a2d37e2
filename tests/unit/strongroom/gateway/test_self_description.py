from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from tests.support.manual_clock import ManualClock

from keylease.contracts.policy import Credential
from keylease.contracts.purposes import Purpose
from keylease.primitives.confinement.measures import Measure
from keylease.strongroom.configuration import GatewayConfiguration, StoreSettings
from keylease.strongroom.gateway.coordinator.credential_desk import CredentialState
from keylease.strongroom.gateway.self_description import protector_in_words, self_report
from keylease.strongroom.hardening.posture import Posture

CREDENTIAL = Credential(
    id="c1",
    name="openai",
    provider="openai",
    reference="vault://kv/openai#key",
    purposes=(Purpose.DEVELOPMENT,),
    environment="local",
)


@pytest.mark.parametrize(
    ("state", "available", "code"),
    [("failed", False, "store_unavailable"), ("available", True, ""), ("unused", True, "")],
)
def test_it_says_what_can_be_had(*, state: str, available: bool, code: str) -> None:
    posture = Posture(measures=(Measure(name="own user", on=True, reason="uid 1"),))
    report = self_report(
        GatewayConfiguration(path="/g"),
        posture,
        credentials=(CREDENTIAL,),
        states={"c1": CredentialState(state=state, at=5, error=code)},
        audit_entries_waiting=3,
        directory=Path("/d"),
        clock=ManualClock(),
    )
    (one,) = report.credentials
    assert (one.available, one.code, one.scheme) == (available, code, "vault")
    assert report.isolated
    assert {store.scheme for store in report.stores} == {"vault", "sealed"}
    assert msgspec.json.decode(msgspec.json.encode(report), type=type(report)) == report


def test_no_measure_is_no_isolation() -> None:
    posture = Posture(measures=(Measure(name="own user", on=False, reason="not root"),))
    report = self_report(
        GatewayConfiguration(path="/g"),
        posture,
        credentials=(),
        states={},
        audit_entries_waiting=0,
        directory=Path("/d"),
        clock=ManualClock(),
    )
    assert not report.isolated


def test_every_store_says_who_protects_it() -> None:
    for scheme in ("sealed", "vault", "aws-sm", "keyring", "file", "env"):
        assert protector_in_words(scheme, StoreSettings()) != "not known"
    assert "passphrase" in protector_in_words("sealed", StoreSettings(sealed_passphrase_file="/p"))
