"""One version forward and back: frozen samples of the link's messages, and messages of tomorrow.

A sample is never changed. A new link version adds its own beside the old ones.
"""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import msgspec
import pytest

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditEntry
from keylease.contracts.bundles import SignedBundle
from keylease.contracts.call_records import CallRecord
from keylease.contracts.policy import PolicyBundle

SAMPLES = Path(__file__).parent / "link_samples"
SHAPES: dict[str, type[msgspec.Struct]] = {
    "enrolment-request": wire.EnrolmentRequest,
    "enrolment-answer": wire.EnrolmentAnswer,
    "poll-request": wire.PollRequest,
    "poll-answer": wire.PollAnswer,
    "call-record-push": wire.CallRecordPush,
    "audit-push": wire.AuditPush,
    "push-answer": wire.PushAnswer,
    "cosignature": wire.Cosignature,
    "fingerprint-push": wire.FingerprintPush,
    "signed-bundle": SignedBundle,
    "policy-bundle": PolicyBundle,
    "call-record": CallRecord,
    "audit-entry": AuditEntry,
}


def sample(name: str, version: int = 1) -> bytes:
    return (SAMPLES / f"v{version}-{name}.json").read_bytes()


@pytest.mark.parametrize("name", SHAPES)
def test_what_an_older_side_writes_is_read(name: str) -> None:
    read = msgspec.json.decode(sample(name), type=SHAPES[name])
    plain = msgspec.json.decode(sample(name))
    written = msgspec.json.decode(msgspec.json.encode(read))
    assert {key: written.get(key, ...) for key in plain} == plain, "and means the same"


@pytest.mark.parametrize("name", SHAPES)
def test_what_a_newer_side_adds_is_ignored(name: str) -> None:
    plain = msgspec.json.decode(sample(name))
    newer = grown(plain)
    assert newer != plain
    assert msgspec.json.decode(msgspec.json.encode(newer), type=SHAPES[name]) == (
        msgspec.json.decode(sample(name), type=SHAPES[name])
    )


@pytest.mark.parametrize("name", SHAPES)
def test_a_newer_side_still_writes_what_an_older_one_needs(name: str) -> None:
    """No member of a sample may vanish from the shape, whatever else it gets."""
    fields = {field.encode_name for field in msgspec.structs.fields(SHAPES[name])}
    assert set(msgspec.json.decode(sample(name))) <= fields


def grown(value: Any) -> Any:  # noqa: ANN401 - JSON
    """The same with a member more in every object."""
    if isinstance(value, dict):
        if value and all(isinstance(item, str) for item in value.values()) and "kind" not in value:
            extra: dict[str, Any] = {}
        else:
            extra = {"of_tomorrow": {"a": [1]}}
        return {**{key: grown(item) for key, item in value.items()}, **extra}
    return [grown(item) for item in value] if isinstance(value, list) else value


def test_the_samples_hold_what_is_signed() -> None:
    signed = msgspec.json.decode(sample("signed-bundle"), type=SignedBundle)
    assert signed.payload == sample("policy-bundle")
    assert base64.b64encode(signed.payload).decode() in sample("signed-bundle").decode()


def test_the_signed_bytes_of_a_request_never_change() -> None:
    assert wire.signing_input(
        method="POST", target="/v1/link/poll", body=b"{}", gateway_id="g", time="1", nonce="n"
    ) == (
        b"keylease/gateway-request/v1\nPOST\n/v1/link/poll\n"
        b"44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a\ng\n1\nn"
    )
