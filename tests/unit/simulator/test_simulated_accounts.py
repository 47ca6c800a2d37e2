"""Keys, usage, limits, failures and recording of the simulator."""

from __future__ import annotations

import pytest
from tests.support.simulated_provider import fresh_key

from keylease.simulator.exchange import ProviderName, Refusal, TokenCount
from keylease.simulator.failures import Failure, FailureKind, Failures
from keylease.simulator.keys import KeyRing, digest_of
from keylease.simulator.limits import RateLimit
from keylease.simulator.multipart import read_parts
from keylease.simulator.recording import without_authentication
from keylease.simulator.usage import UsageLog


def test_only_accepted_keys_open_and_only_until_they_are_revoked() -> None:
    ring = KeyRing()
    secret = fresh_key()
    assert ring.identify(secret, ProviderName.OPENAI, second=0) is None
    key = ring.add(digest_of(secret), provider=None, second=0)
    assert ring.identify(secret, ProviderName.OPENAI, second=0) == key.id
    assert ring.identify(secret + b"x", ProviderName.OPENAI, second=0) is None
    assert ring.revoke(key.id)
    assert ring.identify(secret, ProviderName.OPENAI, second=0) is None
    assert not ring.revoke("key_unknown")


def test_a_key_of_one_provider_does_not_open_the_other() -> None:
    ring = KeyRing()
    secret = fresh_key()
    ring.add(digest_of(secret), provider=ProviderName.OPENAI, second=0)
    assert ring.identify(secret, ProviderName.OPENAI, second=0)
    assert ring.identify(secret, ProviderName.ANTHROPIC, second=0) is None


def test_keys_are_kept_as_hashes_only() -> None:
    ring = KeyRing()
    secret = fresh_key()
    ring.add(digest_of(secret), provider=None, second=0)
    assert secret.decode() not in repr(vars(ring))
    assert secret.decode() not in repr(ring.list())


def test_any_key_opens_when_asked_for_but_not_no_key() -> None:
    ring = KeyRing(accept_any=True)
    assert ring.identify(b"whatever", ProviderName.OPENAI, second=0)
    assert ring.identify(b"", ProviderName.OPENAI, second=0) is None


def test_usage_is_grouped_by_minute_key_and_model() -> None:
    log = UsageLog()
    tokens = TokenCount(input_tokens=5, output_tokens=7, cached_tokens=2)
    for second, key_id, model in [(59, "a", "m"), (60, "a", "m"), (61, "a", "m"), (61, "b", "m")]:
        log.add(second=second, key_id=key_id, model=model, tokens=tokens)
    buckets = log.page()["data"]
    assert [(b["start_time"], b["end_time"]) for b in buckets] == [(0, 60), (60, 120)]
    rows = [(r["api_key_id"], r["num_model_requests"]) for r in buckets[1]["results"]]
    assert rows == [("a", 2), ("b", 1)]
    first = buckets[1]["results"][0]
    assert (first["input_tokens"], first["output_tokens"]) == (10, 14)
    assert first["input_cached_tokens"] == 4
    assert len(log.page(start=60)["data"]) == 1
    assert len(log.page(end=60)["data"]) == 1
    assert len(log.page(key_id="b")["data"][0]["results"]) == 1


def test_the_rate_limit_slides() -> None:
    limit = RateLimit(2)
    assert limit.take("k", now=0.0).allowed
    assert limit.take("k", now=10.0).remaining == 0
    refused = limit.take("k", now=20.0)
    assert not refused.allowed
    assert refused.reset == 40.0
    assert limit.take("other", now=20.0).allowed
    assert limit.take("k", now=60.0).allowed
    assert not limit.take("k", now=60.0).allowed


def plan(failures: Failures, model: str, *, path: str = "/v1/x", key: str = "k") -> str:
    failure = failures.plan(model=model, path=path, key_id=key)
    return f"{failure.kind}:{failure.status}" if failure else ""


def test_model_names_name_their_failure() -> None:
    failures = Failures(slow_seconds=2.0)
    assert plan(failures, "sim-fail-529") == "status:529"
    assert plan(failures, "sim-fail-200") == ""
    assert plan(failures, "gpt-5") == ""
    assert plan(failures, "sim-reset-midstream") == "reset-midstream:500"
    slow = failures.plan(model="sim-slow", path="/", key_id="k")
    assert slow
    assert slow.seconds == 2.0
    piecewise = failures.plan(model="sim-slow-stream", path="/", key_id="k")
    assert piecewise
    assert piecewise.seconds == 0.2


def test_every_failure_but_status_has_a_model_of_its_name() -> None:
    failures = Failures(slow_seconds=0)
    for kind in set(FailureKind) - {FailureKind.STATUS}:
        assert plan(failures, f"sim-{kind}").startswith(f"{kind}:")


def test_one_401_for_each_key() -> None:
    failures = Failures(slow_seconds=0)
    assert plan(failures, "sim-401-once") == "status:401"
    assert plan(failures, "sim-401-once") == ""
    assert plan(failures, "sim-401-once", key="other") == "status:401"


def test_injected_failures_match_count_and_end() -> None:
    failures = Failures(slow_seconds=0)
    failures.inject(
        Failure(
            kind=FailureKind.STATUS, status=503, model="gpt-*", path="*/chat*", every=2, times=2
        )
    )
    seen = [plan(failures, "gpt-5", path="/v1/chat/completions") for _ in range(6)]
    assert seen == ["", "status:503", "", "status:503", "", ""]
    assert failures.list() == ()
    failures.inject(Failure(kind=FailureKind.RESET))
    assert plan(failures, "claude") == "reset:500"
    failures.clear()
    assert plan(failures, "claude") == ""


def test_what_authenticates_is_recorded_as_a_hash() -> None:
    secret = fresh_key().decode()
    kept = without_authentication(
        {
            "authorization": f"Bearer {secret}",
            "x-api-key": secret,
            "cookie": f"session={secret}",
            "accept": "text/plain",
        }
    )
    assert secret not in repr(kept)
    values = dict(kept)
    assert values["authorization"].startswith("Bearer sha256:")
    assert values["authorization"].removeprefix("Bearer ") == values["x-api-key"]
    assert values["accept"] == "text/plain"


def test_a_form_is_read() -> None:
    body = (
        b'--b0\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        b'--b0\r\nContent-Disposition: form-data; name="file"; filename="a.bin"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n\x00\r\n--b\r\n\xff\r\n--b0--\r\n"
    )
    parts = read_parts("multipart/form-data; boundary=b0", body)
    assert parts["purpose"].data == b"batch"
    assert parts["file"].file_name == "a.bin"
    assert parts["file"].data == b"\x00\r\n--b\r\n\xff"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("multipart/form-data", b""),
        ("multipart/form-data; boundary=b", b"--b\r\nno end"),
        ("multipart/form-data; boundary=b", b"--b\r\nno: name\r\n\r\nx\r\n--b--"),
    ],
)
def test_what_is_no_form_is_refused(content_type: str, body: bytes) -> None:
    with pytest.raises(Refusal):
        read_parts(content_type, body)
