"""Secrets are found and masked; what is none is left alone."""

from __future__ import annotations

import random
import string
import uuid
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keylease.detectors import Finding, find, looks_like_secret, mask
from keylease.detectors.definition import Definition
from keylease.detectors.definitions import ALL

ALNUM = string.ascii_letters + string.digits


def alnum(size: int) -> st.SearchStrategy[str]:
    """Characters as a generator of keys makes them; hypothesis alone shrinks towards AAAA."""
    return st.integers(min_value=0, max_value=2**32).map(lambda seed: generated(seed, size))


def generated(seed: int, size: int) -> str:
    return "aB3" + "".join(random.Random(seed).choices(ALNUM, k=size - 3))  # noqa: S311 - no secret


# The literals are put together here so that no scanner takes this file for a find.
FORMS: dict[str, Callable[[str], str]] = {
    "openai-legacy": lambda r: "sk" + "-" + r,
    "openai-project": lambda r: "sk" + "-proj-" + r,
    "openai-service": lambda r: "sk" + "-svcacct-" + r,
    "openai-admin": lambda r: "sk" + "-admin-" + r,
    "anthropic": lambda r: "sk" + "-ant-api03-" + r,
    "anthropic-admin": lambda r: "sk" + "-ant-admin01-" + r,
    "anthropic-federated": lambda r: "sk" + "-ant-oat01-" + r,
    "aws": lambda r: "AK" + "IA" + (r.upper() * 2)[:16],
    "bedrock": lambda r: "AB" + "SK" + r + r,
    "google": lambda r: "AI" + "za" + r[:35],
    "google-bound": lambda r: "AQ." + "Ab" + r,
    "github": lambda r: "gh" + "p_" + r[:36],
    "github-fine": lambda r: "github" + "_pat_" + r + r,
    "groq": lambda r: "gs" + "k_" + r,
    "huggingface": lambda r: "h" + "f_" + r,
    "xai": lambda r: "xa" + "i-" + r,
    "vault": lambda r: "hv" + "s." + r,
    "jwt": lambda r: "ey" + "J" + r + ".eyJ" + r + "." + r,
    "lease": lambda r: "kl" + "l_eyJ" + r + ".eyJ" + r + "." + r,
    "api-key": lambda r: "k" + "l_" + r,
    "pem": lambda r: f"-----BEGIN PRIVATE KEY-----\n{r}\n{r}\n-----END PRIVATE KEY-----",
}
SURROUNDINGS = [
    "{}",
    "my key is {} and it works",
    '{{"messages": ["{}"]}}',
    '{{\\"content\\": \\"{}\\"}}',
    "line\\n{}\\nline",
    "?q=1%20{}&x=2",
    "\\u003d{}",
    "export X={};",
    "first {0} and again {0}",
    "ärger 🔑{}🔑",
]
PROSE = st.text(st.sampled_from(list(string.ascii_lowercase + "      .,\n")), max_size=300)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("surrounding", SURROUNDINGS)
@given(value=alnum(48))
@settings(max_examples=15, deadline=None)
def test_a_planted_secret_never_stays(form: str, surrounding: str, value: str) -> None:
    secret = FORMS[form](value)
    masked, findings = mask(surrounding.format(secret))
    assert secret not in masked
    assert secret[-12:] not in masked
    assert findings
    assert "[secret:" in masked


@given(before=PROSE, value=alnum(40), after=PROSE, form=st.sampled_from(sorted(FORMS)))
@settings(max_examples=200, deadline=None)
def test_masking_twice_changes_nothing(before: str, value: str, after: str, form: str) -> None:
    once, _ = mask(f"{before} {FORMS[form](value)} {after}")
    assert mask(once) == (once, [])


@given(st.text(max_size=400))
@settings(max_examples=300, deadline=None)
def test_any_text_is_masked_once_and_for_all(text: str) -> None:
    once, findings = mask(text)
    assert mask(once)[0] == once
    assert findings == sorted(findings)
    for first, second in pairwise(findings):
        assert first.end <= second.start


@given(PROSE)
@settings(max_examples=200, deadline=None)
def test_prose_is_left_alone(text: str) -> None:
    assert mask(text) == (text, [])


@pytest.mark.parametrize(
    "text",
    [
        f"request {uuid.UUID(int=0x123E4567E89B12D3A456426614174000)} done",
        "commit 6c429fa0b8f4a54d9df0a1b2c3d4e5f60718293a fixes it",
        "sha256:" + "0123456789abcdef" * 4,
        "max_tokens: 4096, total_tokens=123456789012345678",
        "token_id=3f2a9c81d7e64b05a1c2d3e4f5061728",
        'reference = "vault://secret/openai#api_key"',
        'signing_key = "sealed://keylease-lease-signing-key"',
        "pip install scikit-learn==1.5.2 sk-learn-contrib-with-2-numbers",
        "a task-runner, a risk-assessment-framework-2024 and disk-usage-analyzer-tool",
        "kl_divergence_loss_between_p_and_q",
        "Bearer authentication is described in RFC 6750",
        "Basic understanding of AbstractSingletonProxyFactoryBean",
        "the bearer AbstractSingletonProxyFactoryBean",
        "https://user@example.com:8443/path?key=value",
        "password: required",
        "api_key = os.environ['OPENAI_API_KEY']",
        "OPENAI_API_KEY=${OPENAI_API_KEY}",
        "api_key: [secret:openai]",
        "the secret: openness and curiosity",
        "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----",
        "AKIA is a prefix, and so is sk-",
    ],
)
def test_what_is_no_secret_is_left_alone(text: str) -> None:
    assert mask(text) == (text, [])


@pytest.mark.parametrize(
    ("template", "kind"),
    [
        ("MISTRAL_API_KEY={}", "generic"),
        ('{{"api-key": "{}"}}', "generic"),
        ('{{\\"client_secret\\": \\"{}\\"}}', "generic"),
        ("x-api-key: {}", "generic"),
        ("?access_token={}&x=1", "generic"),
        ("TOGETHER_KEY = '{}'", "generic"),
        ("Authorization: Bearer {}", "bearer"),
        ("postgres://app:{}@db/app", "url"),
        ("password: {}", "password"),
    ],
)
@given(value=alnum(32))
@settings(max_examples=25, deadline=None)
def test_a_value_beside_a_telling_name_is_masked(template: str, kind: str, value: str) -> None:
    masked, findings = mask(template.format(value))
    assert value not in masked
    assert [finding.kind for finding in findings] == [kind]


def test_a_uuid_is_a_secret_only_beside_a_telling_name() -> None:
    value = str(uuid.uuid5(uuid.NAMESPACE_DNS, "example.org"))
    assert mask(f"api_key: {value}")[0] == "api_key: [secret:generic]"
    assert not looks_like_secret(f"id: {value}")


def test_a_long_value_is_masked_to_its_end() -> None:
    value = generated(3, 1200)
    assert mask(f"token={value} end")[0] == "token=[secret:generic] end"


def test_the_clearest_kind_names_what_several_definitions_find() -> None:
    secret = FORMS["anthropic"]("aB3dE6gH9jK2" * 4)
    text = f"Authorization: Bearer {secret}"
    assert find(text) == [Finding(text.index("sk"), len(text), "anthropic")]


def test_the_secret_near_an_aws_key_id_is_masked() -> None:
    key_id = FORMS["aws"]("aB3dE6gH9jK2")
    secret = generated(7, 39) + "/"
    masked, _ = mask(f"aws_access_key_id = {key_id}\nkey2 = {secret}\n")
    assert masked == "aws_access_key_id = [secret:aws]\nkey2 = [secret:aws]\n"


def test_a_private_key_that_was_cut_off_is_masked_to_the_end() -> None:
    masked, _ = mask("x -----BEGIN EC PRIVATE KEY-----\\nMIGk" + "a" * 50)
    assert masked == "x [secret:private-key]"


@pytest.mark.no_cover
@pytest.mark.parametrize(
    "unit",
    ["sk-", "eyJ", "eyJaaaaaaaa.", "token=", "key", "://", "bearer ", "password=", "key_", "kl_",
     "-----BEGIN PRIVATE KEY-----", "AKIA" + "A" * 16 + " ", "sk-a1", "%3Dsk-", "github_pat_"],
)  # fmt: skip
def test_a_megabyte_of_beginnings_is_searched_in_linear_time(unit: str) -> None:
    # No clock: matching that grew with the square of the length would run into the test's time-out.
    text = unit * (1_000_000 // len(unit))
    masked, _ = mask(text)
    assert len(masked) <= 2 * len(text)


@pytest.mark.parametrize(
    "definition", ALL, ids=[f"{definition.kind}-{definition.literals[0]}" for definition in ALL]
)
def test_definitions_name_literals_that_are_rare_enough_to_search_for(
    definition: Definition,
) -> None:
    assert definition.literals
    assert all(len(literal) >= 3 for literal in definition.literals)


@pytest.mark.parametrize("page", ["README.md", "ARCHITECTURE.md", "pyproject.toml"])
def test_our_own_pages_hold_no_secret(page: str) -> None:
    assert find((Path(__file__).parents[3] / page).read_text()) == []
