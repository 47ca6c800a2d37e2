"""What a match says: confidence with its reason, nature, key id, name, and never the secret."""

from __future__ import annotations

import base64
import copy
import hmac
import json
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import moto
import msgspec
import pytest
from tests.support.secret_templates import characters, fill

from keylease.detectors.scanning import Confidence, FoundSecret, Match, Nature, Scanner
from keylease.errors import SecretMisused

SCANNER = Scanner()


def scan(text: str, name: str = "") -> list[Match]:
    return SCANNER.scan(text.encode(), name=name)


def one(text: str, name: str = "") -> Match:
    matches = scan(text, name)
    assert len(matches) == 1
    return matches[0]


def opened(match: Match) -> str:
    return match.secret.reveal(why="a test compares it").decode()


def test_a_found_secret_does_not_print_itself() -> None:
    text = fill("hf_{l:34}", 1)
    match = one(text)
    for shown in (repr(match), str(match), f"{match}", f"{match.secret}", str(match.secret)):
        assert text not in shown
        assert text[7:30] not in shown
    assert match.masked == f"hf_...{text[-4:]}"
    assert len(match.secret) == len(text)


MISUSES: dict[str, Callable[[FoundSecret], object]] = {
    "pickle": pickle.dumps,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "bytes": bytes,
    "hash": hash,
    "compare": lambda secret: secret == FoundSecret(b"another"),
}


@pytest.mark.parametrize("misuse", MISUSES)
def test_a_found_secret_cannot_be_misused(misuse: str) -> None:
    with pytest.raises(SecretMisused):
        MISUSES[misuse](FoundSecret(b"a secret"))


def test_a_match_cannot_be_written_as_json_with_its_secret() -> None:
    with pytest.raises(TypeError):
        msgspec.json.encode(one(fill("hf_{l:34}", 1)))


def test_opening_a_found_secret_takes_a_reason() -> None:
    with pytest.raises(SecretMisused):
        FoundSecret(b"a secret").reveal(why="")


def test_a_pair_is_one_secret_with_its_id() -> None:
    key_id, secret = fill("AKIA{2:16}", 1), fill("{b:40}", 2)
    found = scan(f"[default]\nid = {key_id}\nother = {secret}\n")
    assert [(match.kind, match.key_id) for match in found] == [
        ("aws-access-key-id", key_id),
        ("aws-secret-access-key", key_id),
    ]
    assert found[0].confidence is Confidence.MEDIUM
    assert found[1].confidence is Confidence.HIGH
    assert opened(found[1]) == secret


def test_identifiers_are_read_where_the_provider_puts_them() -> None:
    account = fill("{service_account}", 3)
    key_id = json.loads(account)["private_key_id"]
    assert [m.key_id for m in scan(account) if m.confidence is Confidence.HIGH] == [key_id]
    public, secret = fill("pk-lf-{u}", 1), fill("sk-lf-{u}", 2)
    langfuse = {m.kind: m for m in scan(f"A={public}\nB={secret}\n")}
    assert langfuse["langfuse-secret-key"].key_id == public
    bedrock = one(fill("ABSK{bedrock}{b:100}==", 1))
    assert bedrock.key_id.startswith("BedrockAPIKey-")
    assert (
        one(fill("pcsk_{w:5}_{w:63}", 1)).key_id == opened(one(fill("pcsk_{w:5}_{w:63}", 1)))[5:10]
    )
    ours = fill("{keylease}", 1)
    assert one(ours).key_id == f"{ours[:9]}..."


@pytest.mark.parametrize("escaped", [False, True])
def test_a_private_key_is_the_same_however_it_is_written(escaped: bool) -> None:  # noqa: FBT001 - a case
    key = fill("{private_key}", 1)
    written = json.dumps({"tls": key}) if escaped else "key: |\n    " + key.replace("\n", "\n    ")
    matches = [m for m in scan(written) if m.kind == "private-key"]
    assert [opened(match) for match in matches] == [key]


def test_a_broken_checksum_is_no_key_of_the_provider() -> None:
    token = fill("ghp_{w:30}{crc62}", 1)
    assert one(token).confidence is Confidence.HIGH
    changed = token[:-1] + ("0" if token[-1] != "0" else "1")
    assert one(changed).confidence is Confidence.LOW
    ours = fill("{keylease}", 1)
    assert one(ours[:-1] + ("0" if ours[-1] != "0" else "1")).confidence is Confidence.LOW


def a_jwt(key: str) -> str:
    parts = [{"alg": "HS256"}, {"sub": "somebody", "iat": 1516239022}]
    signed = ".".join(
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts
    )
    mac = hmac.digest(key.encode(), signed.encode(), "sha256")
    return f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


NATURES = {
    "AK" + "IAIOSFODNN7EXAMPLE": Nature.EXAMPLE,
    "aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/b" + "PxRfiCYEXAMPLEKEY": Nature.EXAMPLE,
    "sk-ant-" + "api03-your-key-goes-here-and-nowhere-else": Nature.PLACEHOLDER,
    "sk-" + "proj-" + "x" * 48: Nature.PLACEHOLDER,
    "sk-" + "proj-" + "abcdefghijklmnopqrstuvwxyz0123456789": Nature.PLACEHOLDER,
    "AI" + "za" + "aB3dE" * 7: Nature.PLACEHOLDER,
    "gh" + "p_" + "1234567890" * 3 + "123456": Nature.PLACEHOLDER,
    "gs" + "k_" + "aB3dE6gH9jK2m" * 4: Nature.PLACEHOLDER,
    a_jwt("secret"): Nature.TEST_VECTOR,
    a_jwt(characters("w", 32, random.Random(1))): Nature.CANDIDATE,  # noqa: S311 - no secret
}


@pytest.mark.parametrize("text", NATURES, ids=lambda text: text[:12] + text[-6:])
def test_what_is_no_real_key_is_told_apart_with_a_reason(text: str) -> None:
    match = one(text)
    assert match.nature is NATURES[text]
    if match.nature is not Nature.CANDIDATE:
        assert match.confidence is Confidence.LOW
        assert match.nature_reason


def test_real_keys_are_seldom_taken_for_placeholders() -> None:
    for template in ("sk-ant-api03-{d:93}AA", "gsk_{w:52}", "xai-{w:80}", "r8_{w:37}"):
        for seed in range(400):
            match = one(fill(template, seed))
            assert match.nature is Nature.CANDIDATE, match.nature_reason


def test_a_name_beats_what_stands_near() -> None:
    value = fill("{w:32}", 1)
    near = f"# for mistral and its friends\nSTRIPE_API_KEY={value}\n"
    assert one(near).provider == "mistral"
    assert one(near).confidence is Confidence.MEDIUM
    other = one(f"# for mistral and its friends\nGITHUB_API_KEY={value}\n")
    assert other.provider == "github"
    assert other.confidence is Confidence.LOW


def test_the_variable_of_openai_is_used_by_compatible_providers() -> None:
    value = fill("{h:32}", 1)
    match = one(f"OPENAI_API_BASE=https://acme.openai.azure.com\nOPENAI_API_KEY={value}\n")
    assert (match.provider, match.confidence) == ("azure", Confidence.MEDIUM)
    deepseek = fill("sk-{h:32}", 1)
    match = one(f"client = OpenAI(base_url='https://api.deepseek.com', api_key='{deepseek}')")
    assert match.provider == "deepseek"


def test_the_title_of_the_text_tells_at_last() -> None:
    value = fill("{w:40}", 1)
    assert one(f"api_key: {value}\n", "deploy/cohere/values.yaml").provider == "cohere"
    assert one(f"api_key: {value}\n", "deploy/values.yaml").provider == ""


def test_keys_among_tests_are_less_sure() -> None:
    key = fill("{private_key}", 1)
    assert one(key, "src/server.key").confidence is Confidence.HIGH
    assert one(key, "tests/fixtures/server.key").confidence is Confidence.MEDIUM


@pytest.mark.parametrize(
    "text",
    [
        "mistral==1.2.3 --hash=sha256:" + "0a1b2c3d4e5f6789" * 4,
        'wandb_commit = "' + "9f8e7d6c5b" * 4 + '"',
        "https://github.com/cohere-ai/sdk/commit/" + "3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e",
        'together = ["' + "a-very-long-package-name-with-many-words" + '"]',
        "import mistral.models.generated_by_the_compiler_2024",
    ],
)
def test_what_stands_near_a_provider_is_seldom_a_key(text: str) -> None:
    assert [m for m in scan(text) if m.confidence is not Confidence.LOW] == []


def test_keys_that_were_published_with_software_are_known_by_their_digest() -> None:
    # Where the emulator's documentation is quoted; taken apart so that no scanner reports us.
    parts = (
        "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsu",
        "Fq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
    )
    emulator = "".join(parts)
    match = one(f"AccountKey={emulator};")
    assert match.nature is Nature.TEST_VECTOR
    assert "emulator" in match.nature_reason
    proxy = Path(moto.__file__).parent / "moto_proxy" / "ca.key"
    assert [m.nature for m in SCANNER.scan(proxy.read_bytes())] == [Nature.TEST_VECTOR]
