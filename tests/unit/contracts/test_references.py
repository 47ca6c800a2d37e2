from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keylease.contracts.references import MAXIMUM_LENGTH, SCHEMES, Reference
from keylease.errors import ReferenceInvalid


@pytest.mark.parametrize(
    ("text", "scheme", "path", "field"),
    [
        ("env://OPENAI_API_KEY", "env", "OPENAI_API_KEY", ""),
        ("file:///run/secrets/openai", "file", "/run/secrets/openai", ""),
        ("sealed://openai-prod.2", "sealed", "openai-prod.2", ""),
        ("keyring://keylease/openai", "keyring", "keylease/openai", ""),
        ("vault://secret/team/openai#key", "vault", "secret/team/openai", "key"),
        (
            "aws-sm://eu-central-1/prod/openai#api_key",
            "aws-sm",
            "eu-central-1/prod/openai",
            "api_key",
        ),
        ("aws-sm://us-gov-west-1/openai", "aws-sm", "us-gov-west-1/openai", ""),
        ("aws-sm://eusc-de-east-1/openai", "aws-sm", "eusc-de-east-1/openai", ""),
        ("vault://secret/a%20b#key", "vault", "secret/a b", "key"),
        ("vault://secret/a%23b#key", "vault", "secret/a#b", "key"),
    ],
)
def test_reads_each_scheme(text: str, scheme: str, path: str, field: str) -> None:
    reference = Reference.parse(text)
    assert (reference.scheme, reference.path, reference.field) == (scheme, path, field)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "openai",
        "sk-test-0123456789",
        "http://example.com/key",
        "env://",
        "env://1NAME",
        "env://NAME#field",
        "env://A/B",
        "file://relative",
        "file:///",
        "file:///a//b",
        "file:///a/../etc/shadow",
        "file:///a/./b",
        "file:///a/%2e%2e/etc/shadow",
        "file:///a/b\x00",
        "file:///a/b%00",
        "file:///a/b%0a",
        "file:///a/%ff",
        "sealed://../x",
        "sealed://-x",
        "keyring://service",
        "vault://secret/openai",
        "vault://secret#field",
        "vault://secret/../sys/raw#x",
        "vault://secret/..%2fsys/raw#x",
        "aws-sm://nowhere/x",
        "aws-sm://eu-central-1",
        "sealed://" + "a" * 200,
        "vault://secret/" + "a" * MAXIMUM_LENGTH + "#x",
        "vault://secret/" + "%" * 900 + "#x",
    ],
)
def test_refuses_with_one_clear_error(text: str) -> None:
    with pytest.raises(ReferenceInvalid) as caught:
        Reference.parse(text)
    assert caught.value.message
    assert "0123456789" not in str(caught.value), "what was entered may be a key"


@given(st.sampled_from(SCHEMES), st.text(max_size=60), st.text(max_size=20))
def test_anything_is_a_reference_or_refused(scheme: str, path: str, field: str) -> None:
    for text in (f"{scheme}://{path}#{field}", f"{scheme}://{quote(path)}", path):
        try:
            reference = Reference.parse(text)
        except ReferenceInvalid:
            continue
        assert Reference.parse(str(reference)) == reference
        assert ".." not in reference.path.split("/")
        assert str(reference).isprintable()


_SEGMENT = st.text(
    st.characters(
        exclude_characters="/", exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp", "Cf", "Cn", "Co")
    ),
    min_size=1,
    max_size=12,
).filter(lambda text: text not in {".", ".."})


@given(st.lists(_SEGMENT, min_size=2, max_size=4), _SEGMENT)
def test_whatever_is_quoted_survives_the_round_trip(segments: list[str], field: str) -> None:
    path = "/".join(segments)
    reference = Reference.parse(f"vault://{quote(path)}#{field}")
    assert reference.path == path
    assert Reference.parse(str(reference)) == reference
