"""Google: API keys, keys bound to a service account, OAuth tokens, service-account files.

Vertex AI is called with what a service-account file or an access token gives, so those are found
here. ``AQ.`` keys are bound to a service account and are what AI Studio issues since May 2026
(https://ai.google.dev/gemini-api/docs/api-key).
"""

from __future__ import annotations

import re
from typing import Final

from keylease.detectors.checks import canonical_pem, pem_body
from keylease.detectors.definition import URL_SAFE, Definition, Shape, prefixed

_KEY_ID: Final = re.compile(
    r"""private_key_id\\{0,4}["']?\s{0,8}:\s{0,8}\\{0,4}["']?([0-9a-f]{40})"""
)
_END: Final = re.compile(r"-----END [A-Z ]{0,40}-----")
_PRIVATE_KEY: Final = re.compile(
    r"""private_key\\{0,4}["']?\s{0,8}:\s{0,8}\\{0,4}["']?"""
    r"(?P<secret>-----BEGIN [A-Z ]{0,40}-----)"
)
_BEFORE: Final = 1500


def _in_service_account(text: str, start: int) -> bool:
    """Whether the private key stands in a service-account file: its other members are near."""
    around = text[max(0, start - _BEFORE) : start] + text[start + 1000 : start + 4000]
    return "client_email" in around or "service_account" in around or "private_key_id" in around


def _to_the_end(text: str, position: int) -> int:
    match = _END.search(text, position, position + 20_000)
    return len(text[: position + 20_000]) if match is None else match.end()


DEFINITIONS: Final = (
    prefixed(
        "google-api-key",
        "Google API key",
        ("AIza",),
        provider="google",
        least=35,
        form=r"AIza[A-Za-z0-9_-]{35}",
        random=False,
        names=(r"google", r"gemini", r"vertex", r"palm", r"goog\b"),
        examples=("AIza{d:35}",),
        counter_examples=("AIza{d:20}", "xAIza{d:35}"),
    ),
    prefixed(
        "google-bound-key",
        "Google API key bound to a service account",
        ("AQ.Ab",),
        provider="google",
        least=30,
        form=r"AQ\.Ab8RN6[A-Za-z0-9_-]{40,60}",
        random=False,
        examples=("AQ.Ab8RN6{d:44}",),
    ),
    prefixed(
        "google-access-token",
        "Google OAuth access token",
        ("ya29.",),
        provider="google",
        alphabet="A-Za-z0-9_.-",
        least=20,
        form=r"ya29\.[A-Za-z0-9_.-]{60,}",
        random=False,
        examples=("ya29.a0{d:160}", "ya29.c.{d:200}"),
    ),
    prefixed(
        "google-client-secret",
        "Google OAuth client secret",
        ("GOCSPX-",),
        provider="google",
        alphabet=URL_SAFE,
        least=24,
        form=r"GOCSPX-[A-Za-z0-9_-]{28}",
        random=False,
        examples=("GOCSPX-{d:28}",),
    ),
    Definition(
        kind="google-service-account",
        title="private key of a Google service-account file",
        provider="google",
        literals=("private_key",),
        pattern=_PRIVATE_KEY,
        trigger=r"private_key[\\\"':\s]{2,24}-----BEGIN ",
        at=_in_service_account,
        at_late=True,
        extend=_to_the_end,
        least_entropy=2.0,
        id_near=_KEY_ID,
        canonical=canonical_pem,
        check=pem_body,
        examples=("{service_account}",),
    ),
)

SHAPES: Final = (
    Shape(
        kind="google-refresh-token",
        title="Google OAuth refresh token",
        provider="google",
        form=re.compile(r"1//0[A-Za-z0-9_-]{60,140}"),
        names=(r"google", r"gcloud", r"refresh_?token", r"authorized_user"),
        examples=("1//0{d:90}",),
    ),
)
