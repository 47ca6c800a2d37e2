from __future__ import annotations

import pytest

from keylease.discovery.names import environment_of, provider_of


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("OPENAI_API_KEY", "openai"),
        ("OPENAI_API_KEY_2", "openai"),
        ("OPENAI_KEY1", "openai"),
        ("openaiApiKey", "openai"),
        ("prod-anthropic-key", "anthropic"),
        ("AZURE_OPENAI_API_KEY", "azure"),
        ("CO_API_KEY", "cohere"),
        ("HF_TOKEN", "huggingface"),
        ("AWS_SECRET_ACCESS_KEY", "aws"),
        ("GOOGLE_APPLICATION_CREDENTIALS", "google"),
        ("NEXT_WANDB_API_KEY", "wandb"),
        ("OPENAI_BASE_URL", ""),
        ("MAX_OPENAI_TOKENS", ""),
        ("COMPANY_TOKEN", ""),
        ("LANGFUSE_PUBLIC_KEY", ""),
        ("OPENAIKEYS" * 50, ""),
        ("DATABASE_PASSWORD", ""),
        ("OPENAI_MODEL", ""),
    ],
)
def test_a_name_tells_whose_credential_it_stands_for(name: str, provider: str) -> None:
    assert provider_of(name) == provider


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        (".env.production", "production"),
        ("/srv/app/prod/values.yaml", "production"),
        ("values-staging.yaml", "staging"),
        ("/usr/local/lib/x.py", ""),
        ("/dev/disk/x.py", ""),
        ("/home/user/production/deep/er/still/x.py", ""),
        ("team-a-prod", "production"),
        ("product.py", ""),
    ],
)
def test_a_path_or_name_tells_its_environment(text: str, environment: str) -> None:
    assert environment_of(text) == environment
