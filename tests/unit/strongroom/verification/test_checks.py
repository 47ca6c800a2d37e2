"""What each provider is asked, and what its published answers mean."""

from __future__ import annotations

import base64
import datetime as dt
import secrets
from typing import Any
from urllib.parse import urlsplit

import botocore.auth
import botocore.awsrequest
import botocore.credentials
import msgspec
import pytest

from keylease.contracts.catalogue import CATALOGUE
from keylease.contracts.findings import Belonging, Liveness
from keylease.detectors.definitions import ALL, SHAPES
from keylease.strongroom.config_files.verification_table import PROVIDERS
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.asking import answer_of
from keylease.strongroom.verification.checks.interfaces import Check, Found, NotAsked, Request
from keylease.strongroom.verification.registry import CHECKS, check_of

NOW = 1_790_000_000_000_000
KEY = secrets.token_hex(20)
ACCESS_KEY_ID = "AKIA" + "QRSTUVWXYZ234567"
LANGFUSE_PUBLIC = "pk-lf-" + "0f1e2d3c-1111-4222-8333-444455556666"
LIVE, DEAD, UNKNOWN = Liveness.LIVE, Liveness.DEAD, Liveness.UNKNOWN


def asked(kind: str, secret: str = KEY, key_id: str = "") -> Request | NotAsked:
    check = check_of(kind)
    assert check is not None
    return check.request(Secret(secret), key_id, origin=check.origins[0], now=NOW)


def read(kind: str, status: int, body: object = None, **headers: str) -> Found:
    check = check_of(kind)
    assert check is not None
    content = (
        body.encode()
        if isinstance(body, str)
        else msgspec.json.encode({} if body is None else body)
    )
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return check.read(answer_of(status, named, content))


GOOD: list[tuple[str, object, dict[str, str], Belonging | None]] = [
    (
        "openai-project-key",
        {"object": "list", "data": []},
        {"OpenAI_Organization": "acme-1", "openai_project": "proj_1"},
        Belonging(organization="acme-1", project="proj_1"),
    ),
    (
        "anthropic-api-key",
        {"data": [], "has_more": False},
        {"anthropic_organization_id": "0-1"},
        Belonging(organization="0-1"),
    ),
    (
        "anthropic-admin-key",
        {"id": "0-1", "type": "organization", "name": "Acme"},
        {},
        Belonging(organization="Acme"),
    ),
    ("google-api-key", {"models": [{"name": "models/x"}]}, {}, None),
    ("mistral-api-key", {"object": "list", "data": []}, {}, None),
    ("groq-api-key", {"object": "list", "data": []}, {}, None),
    ("deepseek-api-key", {"object": "list", "data": []}, {}, None),
    ("together-api-key", [], {}, None),
    ("fireworks-api-key", {"data": []}, {}, None),
    ("cerebras-api-key", {"data": []}, {}, None),
    ("replicate-api-token", {"username": "ann"}, {}, Belonging(account="ann")),
    ("elevenlabs-api-key", {"user_id": "u", "subscription": {}}, {}, Belonging(account="u")),
    ("pinecone-api-key", {"indexes": []}, {}, None),
    (
        "cohere-api-key",
        {"valid": True, "organization_id": "o", "owner_id": "w"},
        {},
        Belonging(organization="o", account="w"),
    ),
    (
        "xai-api-key",
        {"api_key_id": "k", "user_id": "u", "team_id": "t", "acls": ["api-key:model:*", 7]},
        {},
        Belonging(account="u", organization="t", scopes=("api-key:model:*",)),
    ),
    (
        "openrouter-api-key",
        {"data": {"label": "sk-or-v1-0e6...1c9", "is_provisioning_key": True}},
        {},
        Belonging(scopes=("provisioning",)),
    ),
    (
        "huggingface-token",
        {
            "type": "user",
            "name": "ann",
            "orgs": [{"name": "acme"}, {"name": "lab"}],
            "auth": {"type": "access_token", "accessToken": {"role": "write"}},
        },
        {},
        Belonging(account="ann", organization="acme, lab", scopes=("write",)),
    ),
    (
        "github-token",
        {"login": "ann"},
        {"X_OAuth_Scopes": "repo, workflow"},
        Belonging(account="ann", scopes=("repo", "workflow")),
    ),
    (
        "gitlab-token",
        {"active": True, "user_id": 42, "scopes": ["api"]},
        {},
        Belonging(account="42", scopes=("api",)),
    ),
    ("vercel-token", {"user": {"id": "u", "username": "ann"}}, {}, Belonging(account="ann")),
    ("braintrust-api-key", {"objects": [{"name": "acme"}]}, {}, Belonging(organization="acme")),
    (
        "langsmith-api-key",
        [{"organization_id": "o", "display_name": "Workspace 1"}],
        {},
        Belonging(organization="o", project="Workspace 1"),
    ),
    (
        "langfuse-secret-key",
        {"data": [{"name": "chat", "organization": {"name": "acme"}}]},
        {},
        Belonging(project="chat", organization="acme"),
    ),
    (
        "aws-secret-access-key",
        "<Arn>arn:aws:iam::123456789012:user/ci</Arn><Account>123456789012</Account>",
        {},
        Belonging(account="arn:aws:iam::123456789012:user/ci", organization="123456789012"),
    ),
]


@pytest.mark.parametrize(("kind", "body", "headers", "whose"), GOOD, ids=lambda one: str(one)[:24])
def test_a_good_answer_says_live_and_whose(
    kind: str, body: object, headers: dict[str, str], whose: Belonging | None
) -> None:
    assert read(kind, 200, body, **headers) == Found(LIVE, "It is accepted.", whose)


OPENAI, GEMINI, GITHUB = "openai-project-key", "google-api-key", "github-token"
SAID: list[tuple[str, int, Any, Liveness]] = [
    (OPENAI, 401, {"error": {"code": "invalid_api_key"}}, DEAD),
    (OPENAI, 401, {"error": {"code": "ip_not_authorized"}}, UNKNOWN),
    (OPENAI, 401, {"error": {"code": "incorrect_hostname"}}, LIVE),
    (OPENAI, 403, {"error": {"message": "You have insufficient permissions for this ..."}}, LIVE),
    (OPENAI, 403, {"error": {"code": "unsupported_country_region_territory"}}, UNKNOWN),
    (OPENAI, 429, {"error": {"code": "insufficient_quota"}}, LIVE),
    (OPENAI, 429, {"error": {"code": "rate_limit_exceeded"}}, UNKNOWN),
    ("anthropic-api-key", 401, {"error": {"type": "authentication_error"}}, DEAD),
    ("anthropic-api-key", 403, {"error": {"type": "permission_error"}}, LIVE),
    ("anthropic-api-key", 403, {"error": {"type": "forbidden"}}, UNKNOWN),
    (GEMINI, 400, {"error": {"details": [{"reason": "API_KEY_INVALID"}]}}, DEAD),
    (GEMINI, 400, {"error": {"message": "something else"}}, UNKNOWN),
    (GEMINI, 401, {"error": {"status": "UNAUTHENTICATED"}}, DEAD),
    ("deepseek-api-key", 402, {"error": {"message": "Insufficient Balance"}}, LIVE),
    ("pinecone-api-key", 401, "Invalid API Key", DEAD),
    ("cohere-api-key", 200, {"valid": False}, DEAD),
    ("xai-api-key", 400, {"code": "x", "error": "Incorrect API key provided: ab***c"}, DEAD),
    ("xai-api-key", 200, {"api_key_id": "k", "api_key_blocked": True}, DEAD),
    (GITHUB, 401, {"message": "Bad credentials"}, DEAD),
    (GITHUB, 403, {"message": "rate limit exceeded"}, UNKNOWN),
    ("gitlab-token", 200, {"active": False, "revoked": True}, DEAD),
    ("gitlab-token", 403, {"error": "insufficient_scope"}, LIVE),
    ("vercel-token", 403, {"error": {"code": "forbidden", "invalidToken": True}}, DEAD),
    ("aws-secret-access-key", 403, "<Code>InvalidClientTokenId</Code>", DEAD),
    ("aws-secret-access-key", 403, "<Code>SignatureDoesNotMatch</Code>", DEAD),
    ("aws-secret-access-key", 403, "<Code>RequestExpired</Code>", UNKNOWN),
]


@pytest.mark.parametrize(("kind", "status", "body", "liveness"), SAID)
def test_a_refusal_is_told_from_a_limit(
    kind: str, status: int, body: object, liveness: Liveness
) -> None:
    assert read(kind, status, body).liveness is liveness


def test_a_google_key_for_another_service_tells_its_project() -> None:
    detail = {"reason": "SERVICE_DISABLED", "metadata": {"consumer": "projects/123"}}
    found = read(GEMINI, 403, {"error": {"details": [detail]}})
    assert (found.liveness, found.belongs_to) == (LIVE, Belonging(project="123"))


def test_a_github_token_that_may_not_read_its_user_is_live_while_it_has_a_rate() -> None:
    assert read(GITHUB, 403, {}, x_ratelimit_remaining="59").liveness is LIVE
    assert read(GITHUB, 403, {}, x_ratelimit_remaining="0").liveness is UNKNOWN


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kinds[0])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>Sign in to the guest network</html>"),
        (200, b"{}"),
        (200, b"null"),
        (200, b'{"data":7,"error":[1],"valid":"yes","active":1}'),
        (200, b"[" * 50_000),
        (301, b""),
        (403, b"<html>Attention Required!</html>"),
        (404, b""),
        (429, b""),
        (500, b'{"error":"x"}'),
        (503, b"\xff\xfe"),
    ],
)
def test_what_a_provider_did_not_publish_is_no_verdict(
    check: Check, status: int, body: bytes
) -> None:
    assert check.read(answer_of(status, {}, body)).liveness is UNKNOWN


def test_every_kind_is_one_that_the_detectors_find_and_belongs_to_one_check() -> None:
    kinds = [kind for check in CHECKS for kind in check.kinds]
    assert len(set(kinds)) == len(kinds)
    found = {one.kind: one.provider for one in ALL} | {one.kind: one.provider for one in SHAPES}
    for check in CHECKS:
        assert {found[kind] for kind in check.kinds} == {check.provider}


def test_hosts_are_public_and_those_of_the_catalogue_where_it_has_them() -> None:
    assert sorted({check.provider for check in CHECKS}) == sorted(PROVIDERS)
    for check in CHECKS:
        for origin in check.origins:
            parts = urlsplit(origin)
            assert (parts.scheme, parts.path, parts.port) == ("https", "", None)
        known = CATALOGUE.get(check.provider)
        if known is not None:
            assert urlsplit(check.origins[0]).netloc == urlsplit(known.base_url).netloc


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kinds[0])
def test_the_key_is_in_a_header_alone_and_in_no_printed_form(check: Check) -> None:
    pairs = {"aws": ACCESS_KEY_ID, "langfuse": LANGFUSE_PUBLIC}
    prefix = "glpat-" if check.provider == "gitlab" else ""
    request = check.request(
        Secret(prefix + KEY), pairs.get(check.provider, ""), origin=check.origins[0], now=NOW
    )
    assert isinstance(request, Request)
    assert KEY not in request.path + repr(request) + request.body.decode()
    assert request.method in {"GET", "POST"}
    carried = " ".join(request.headers.values())
    if check.provider == "aws":
        assert KEY not in carried  # signed with, never sent
    elif check.provider == "langfuse":
        assert base64.b64encode(f"{LANGFUSE_PUBLIC}:{KEY}".encode()).decode() in carried
    else:
        assert carried.count(KEY) == 1


def test_what_cannot_be_asked_says_why() -> None:
    for kind, secret, key_id in (
        ("aws-secret-access-key", KEY, ""),
        ("aws-secret-access-key", KEY, "ASIA" + "QRSTUVWXYZ234567"),
        ("langfuse-secret-key", KEY, ""),
        ("github-token", "ghr_" + KEY, ""),
        ("gitlab-token", "gldt-" + KEY, ""),
    ):
        found = asked(kind, secret, key_id)
        assert isinstance(found, NotAsked)
        assert found.reason


def test_a_pair_of_aws_is_signed_as_its_own_library_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed = dt.datetime(2026, 9, 21, 13, 33, 20, tzinfo=dt.UTC)
    monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda: fixed)
    theirs = botocore.awsrequest.AWSRequest(
        "POST",
        "https://sts.amazonaws.com/",
        data=b"Action=GetCallerIdentity&Version=2011-06-15",
        headers={"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"},
    )
    keys = botocore.credentials.Credentials(ACCESS_KEY_ID, KEY)
    botocore.auth.SigV4Auth(keys, "sts", "us-east-1").add_auth(theirs)
    check = check_of("aws-secret-access-key")
    assert check is not None
    ours = check.request(
        Secret(KEY),
        ACCESS_KEY_ID,
        origin="https://sts.amazonaws.com",
        now=int(fixed.timestamp()) * 1_000_000,
    )
    assert isinstance(ours, Request)
    assert ours.headers["x-amz-date"] == theirs.headers["X-Amz-Date"]
    assert ours.headers["authorization"] == theirs.headers["Authorization"]
