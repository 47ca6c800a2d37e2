"""Which variables a strongroom process does not keep."""

from __future__ import annotations

import pytest

from keylease.strongroom.hardening.environment import is_loader, unwanted


@pytest.mark.parametrize(
    "name",
    [
        "http_proxy", "HTTPS_PROXY", "all_proxy", "NO_PROXY", "OPENAI_BASE_URL",
        "ANTHROPIC_BASE_URL", "OPENAI_API_BASE", "AZURE_OPENAI_ENDPOINT", "AWS_ENDPOINT_URL",
        "AWS_ENDPOINT_URL_STS", "SSLKEYLOGFILE", "SSL_CERT_FILE", "SSL_CERT_DIR",
        "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "OPENSSL_CONF", "OPENSSL_MODULES", "PYTHONPATH",
        "PYTHONSTARTUP", "LD_PRELOAD", "LD_AUDIT", "DYLD_INSERT_LIBRARIES", "GLIBC_TUNABLES",
        "HOSTALIASES", "RES_OPTIONS", "LOCALDOMAIN",
    ],
)  # fmt: skip
def test_it_is_dropped(name: str) -> None:
    assert unwanted([name]) == (name,)


@pytest.mark.parametrize(
    "name",
    [
        "PATH",
        "HOME",
        "TZ",
        "LANG",
        "AWS_REGION",
        "AWS_PROFILE",
        "OPENAI_API_KEY",
        "XDG_RUNTIME_DIR",
    ],
)
def test_it_is_kept(name: str) -> None:
    assert unwanted([name]) == ()


def test_what_the_loader_has_seen_makes_a_new_start_necessary() -> None:
    assert is_loader("LD_PRELOAD")
    assert is_loader("DYLD_LIBRARY_PATH")
    assert not is_loader("PYTHONPATH")
