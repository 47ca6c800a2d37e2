"""Every definition finds its examples and leaves its counter-examples alone, in both engines."""

from __future__ import annotations

import pytest
from tests.support.secret_templates import fill

from keylease.detectors import find
from keylease.detectors.definition import Definition, Shape
from keylease.detectors.definitions import ALL, SHAPES
from keylease.detectors.scanning import Confidence, Match, Nature, Scanner

SEEDS = range(12)
SCANNER = Scanner()
EXAMPLES = [(definition, example) for definition in ALL for example in definition.examples]
COUNTER_EXAMPLES = [(d, example) for d in ALL for example in d.counter_examples]
SHAPE_EXAMPLES = [(shape, example) for shape in SHAPES for example in shape.examples]
NAMES = {
    "anthropic": "ANTHROPIC_API_KEY", "aws-secret-access-key": "aws_secret_access_key",
    "aws-session-token": "AWS_SESSION_TOKEN", "google-refresh-token": "GOOGLE_REFRESH_TOKEN",
    "azure": "AZURE_OPENAI_API_KEY", "cohere": "COHERE_API_KEY",
    "together": "TOGETHER_API_KEY", "snowflake": "SNOWFLAKE_TOKEN", "wandb": "WANDB_API_KEY",
    "elevenlabs": "ELEVENLABS_API_KEY", "vault": "VAULT_TOKEN", "ai21": "AI21_API_KEY",
    "openai": "OPENAI_API_KEY", "dashscope": "DASHSCOPE_API_KEY", "litellm": "LITELLM_MASTER_KEY",
}  # fmt: skip


def ids(case: tuple[Definition | Shape, str]) -> str:
    return f"{case[0].kind}: {case[1]}"


def best(text: str) -> Match:
    matches = SCANNER.scan(text.encode())
    assert matches, "nothing was found"
    return min(matches, key=lambda match: list(Confidence).index(match.confidence))


@pytest.mark.parametrize("case", EXAMPLES, ids=ids)
def test_examples_are_found_and_attributed(case: tuple[Definition, str]) -> None:
    definition, template = case
    for seed in SEEDS:
        value = fill(template, seed)
        text = f"first line\n{value}\nlast line"
        match = best(text)
        assert match.kind == definition.kind
        assert match.provider == definition.provider
        assert match.nature is Nature.CANDIDATE, match.nature_reason
        if not definition.generic:
            certain = not definition.public and (definition.form or definition.check)
            assert match.confidence is (Confidence.HIGH if certain else Confidence.MEDIUM)
            assert text[match.start : match.end] in value
        if not definition.scan_only:
            assert find(text), "a mask would leave it"


@pytest.mark.parametrize("case", COUNTER_EXAMPLES, ids=ids)
def test_counter_examples_are_not_taken_for_the_kind(case: tuple[Definition, str]) -> None:
    definition, template = case
    for seed in SEEDS:
        matches = SCANNER.scan(f"first line\n{fill(template, seed)}\nlast line".encode())
        kinds = [m.kind for m in matches if m.nature is Nature.CANDIDATE]
        assert definition.kind not in kinds


@pytest.mark.parametrize("case", SHAPE_EXAMPLES, ids=ids)
def test_shapes_are_attributed_by_the_name_they_are_assigned_to(case: tuple[Shape, str]) -> None:
    shape, template = case
    name = NAMES.get(shape.kind) or NAMES.get(shape.provider) or f"{shape.provider}_api_key".upper()
    for seed in SEEDS:
        match = best(f"A=1\n{name}={fill(template, seed)}\nB=2\n")
        assert (match.kind, match.provider) == (shape.kind, shape.provider)
        assert match.confidence is Confidence.HIGH
        assert match.name == name


@pytest.mark.parametrize("case", SHAPE_EXAMPLES, ids=ids)
def test_shapes_without_a_name_are_nobodys(case: tuple[Shape, str]) -> None:
    shape, template = case
    for seed in SEEDS:
        for match in SCANNER.scan(f"x = {fill(template, seed)}\n".encode()):
            assert match.provider == ""
            assert match.kind != shape.kind


@pytest.mark.parametrize("shape", [s for s in SHAPES if s.bare], ids=lambda shape: shape.kind)
def test_bare_shapes_are_found_right_behind_their_provider(shape: Shape) -> None:
    client = {"together": "Together", "wandb": "wandb", "ai21": "AI21Client"}.get(
        shape.provider, shape.provider.capitalize()
    )
    for seed in SEEDS:
        value = fill(shape.examples[0], seed)
        match = best(f'client = {client}("{value}")\n')
        assert match.provider == shape.provider
        assert match.confidence is Confidence.MEDIUM


def test_every_provider_of_a_definition_has_a_name_that_tells_it() -> None:
    named = {d.provider for d in ALL if d.names} | {s.provider for s in SHAPES}
    assert {d.provider for d in ALL if d.provider} <= named


def test_kinds_are_told_apart() -> None:
    kinds = [definition.kind for definition in ALL] + [shape.kind for shape in SHAPES]
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("definition", ALL, ids=lambda definition: definition.kind)
def test_a_definition_says_what_a_mask_calls_it_and_shows_an_example(
    definition: Definition,
) -> None:
    assert definition.label or definition.provider
    assert definition.title
    assert definition.examples or definition.kind in {"bearer-token", "basic-credentials"}
