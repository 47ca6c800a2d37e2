"""A call that is over waits a moment for its record to be built with others'."""

from __future__ import annotations

import msgspec
from tests.support.answered_calls import QUOTE
from tests.support.call_rig import CHAT_ANSWER, CallRig

PROMPT = "the moon over the river"


def closed_call() -> CallRig:
    rig = CallRig()
    rig.link.prices["openai", "gpt-4o-mini"] = QUOTE
    messages = [{"role": "user", "content": PROMPT}]
    rig.send("POST", "/v1/chat/completions", {"model": "gpt-4o-mini", "messages": messages})
    rig.clock.advance(2.0)
    rig.upstream.answer(CHAT_ANSWER)
    return rig


def test_it_says_what_was_when_the_call_ended() -> None:
    rig = closed_call()
    [at_once] = rig.link.records
    [call] = rig.link.closed
    rig.clock.advance(60.0)
    assert at_once.duration == 2_000_000
    assert msgspec.to_builtins(call.record()) == msgspec.to_builtins(at_once)


def test_nothing_secret_and_no_body_waits_with_it() -> None:
    rig = closed_call()
    [call] = rig.link.closed
    held = {name: getattr(call, name) for name in dir(call) if not name.startswith("__")}
    values = [value for value in held.values() if not callable(value)]
    texts = " ".join(repr(value) for value in values if isinstance(value, bytes | str | dict | set))
    assert PROMPT.encode() in (rig.upstream.body or b"")
    assert "gpt-4o-mini" in texts
    for gone in (PROMPT, rig.secrets["cred-openai"].decode(), rig.lease.decode()):
        assert gone not in texts
