"""What somebody who has a key can do with it, and what replacing it takes. Data, not measurement.

Minutes are planning values for one pair of hands that knows the place; they are stated beside every
estimate that is made of them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.findings import PlaceKind


class Ability(msgspec.Struct, frozen=True):
    """What a kind of key opens."""

    can: tuple[str, ...]
    minted_by_api: bool
    """Whether a new one can be made by program."""


_CALLS: Final = "make model calls that its owner pays for"
_READ_OBJECTS: Final = "read files, batches and stored answers of its project"
_OWN_KEYS: Final = "make and remove keys, so that revoking this one alone does not end it"

_BY_PROVIDER: Final = {
    "openai": Ability((_CALLS, _READ_OBJECTS), minted_by_api=True),
    "anthropic": Ability((_CALLS, "read batches and files of its workspace"), minted_by_api=False),
    "aws": Ability(
        ("do everything its IAM user may, not only model calls", _CALLS), minted_by_api=True
    ),
    "bedrock": Ability((_CALLS,), minted_by_api=True),
    "google": Ability(
        (_CALLS, "use every API that the key is not restricted from"), minted_by_api=True
    ),
    "azure": Ability((_CALLS, "use every deployment of its resource"), minted_by_api=True),
    "openrouter": Ability((_CALLS, "use keys that were stored there"), minted_by_api=True),
    "perplexity": Ability((_CALLS, _OWN_KEYS), minted_by_api=True),
    "huggingface": Ability((_CALLS, "read, and perhaps write, repositories"), minted_by_api=False),
    "github": Ability(
        ("read, and perhaps write, repositories and their secrets",), minted_by_api=False
    ),
    "gitlab": Ability(
        ("read, and perhaps write, projects and their variables",), minted_by_api=False
    ),
    "braintrust": Ability(
        ("read logs and datasets, and call models with stored keys",), minted_by_api=False
    ),
    "langsmith": Ability(("read traces and prompts",), minted_by_api=False),
    "langfuse": Ability(("read traces and prompts",), minted_by_api=False),
    "vault": Ability(("read every secret its policies reach",), minted_by_api=True),
}
_ADMIN: Final = Ability((_OWN_KEYS, "read usage, people and projects"), minted_by_api=True)
_OTHERS: Final = Ability((_CALLS,), minted_by_api=False)

_MINUTES_BY_API: Final = 2
_MINUTES_BY_HAND: Final = 10
_MINUTES_IN: Final = {
    PlaceKind.ENVIRONMENT_FILE: 3,
    PlaceKind.SHELL_HISTORY: 2,
    PlaceKind.SHELL_PROFILE: 3,
    PlaceKind.CI_CONFIGURATION: 5,
    PlaceKind.KUBERNETES_MANIFEST: 10,
    PlaceKind.KUBERNETES_CLUSTER: 10,
    PlaceKind.NOTEBOOK_OUTPUT: 5,
    PlaceKind.TERRAFORM_STATE: 20,
}
_MINUTES_ELSEWHERE: Final = 15
_MINUTES_AT_VENDOR: Final = 5


def ability(provider: str, kind: str) -> Ability:
    """What a key of this provider and kind opens."""
    if "admin" in kind or "management" in kind:
        return _ADMIN
    return _BY_PROVIDER.get(provider, _OTHERS)


def minutes_to_mint(provider: str, kind: str) -> int:
    """How long making a new one takes."""
    return _MINUTES_BY_API if ability(provider, kind).minted_by_api else _MINUTES_BY_HAND


def minutes_to_replace(kind: PlaceKind, *, at_vendor: bool) -> int:
    """How long putting the new one into a place takes."""
    return _MINUTES_AT_VENDOR if at_vendor else _MINUTES_IN.get(kind, _MINUTES_ELSEWHERE)
