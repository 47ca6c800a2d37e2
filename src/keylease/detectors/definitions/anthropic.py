"""Anthropic: API, administration and compliance keys, and tokens of federation and sign-in.

Form: ``sk-ant-``, a purpose with a two-digit version, and 95 characters of which the last two are
``AA``. ``oat`` and ``ort`` are what workload identity federation and the sign-in of its tools give
(https://platform.claude.com/docs/en/manage-claude/workload-identity-federation).
"""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import prefixed

DEFINITIONS: Final = (
    prefixed(
        "anthropic-api-key",
        "Anthropic API key",
        ("sk-ant-api",),
        provider="anthropic",
        form=r"sk-ant-api\d\d-[A-Za-z0-9_-]{93}AA",
        random=False,
        boundary=False,
        names=(r"anthropic", r"claude"),
        examples=("sk-ant-api03-{d:93}AA", "sk-ant-api01-{d:93}AA"),
    ),
    prefixed(
        "anthropic-admin-key",
        "Anthropic administration key",
        ("sk-ant-admin",),
        provider="anthropic",
        form=r"sk-ant-admin\d\d-[A-Za-z0-9_-]{93}AA",
        random=False,
        boundary=False,
        examples=("sk-ant-admin01-{d:93}AA",),
    ),
    prefixed(
        "anthropic-access-token",
        "Anthropic access token (federation or sign-in)",
        ("sk-ant-oat", "sk-ant-ort", "sk-ant-sid"),
        provider="anthropic",
        form=r"sk-ant-(?:oat|ort|sid)\d\d-[A-Za-z0-9_-]{60,}",
        random=False,
        boundary=False,
        examples=("sk-ant-oat01-{d:93}AA", "sk-ant-ort01-{d:93}AA"),
    ),
    prefixed(
        "anthropic-other-key",
        "Anthropic key of a form not known here",
        ("sk-ant-",),
        provider="anthropic",
        random=False,
        boundary=False,
        examples=("sk-ant-new07-{d:80}",),
        counter_examples=("sk-ant-", "task-antenna-installation"),
    ),
)
