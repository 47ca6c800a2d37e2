"""One file for each provider or kind of secret. A new file is added to ``ALL``, and that is all.

The order decides which name a secret gets when several definitions match: the clearer first.
"""

from __future__ import annotations

from typing import Final

from keylease.detectors.definition import Definition
from keylease.detectors.definitions import (
    anthropic,
    authorization,
    aws,
    generic,
    github,
    google,
    groq,
    huggingface,
    jwt,
    keylease,
    openai,
    openrouter,
    private_key,
    url,
    vault,
    xai,
)

ALL: Final[tuple[Definition, ...]] = (
    *keylease.DEFINITIONS,
    *anthropic.DEFINITIONS,
    *openrouter.DEFINITIONS,
    *openai.DEFINITIONS,
    *aws.DEFINITIONS,
    *google.DEFINITIONS,
    *github.DEFINITIONS,
    *groq.DEFINITIONS,
    *huggingface.DEFINITIONS,
    *vault.DEFINITIONS,
    *xai.DEFINITIONS,
    *private_key.DEFINITIONS,
    *jwt.DEFINITIONS,
    *url.DEFINITIONS,
    *authorization.DEFINITIONS,
    *generic.DEFINITIONS,
)
