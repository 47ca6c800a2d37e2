from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.gateway_kit import GatewayFiles, RunningGateway, running_gateway
from tests.support.simulated_provider import RunningSimulator, fresh_key, running_simulator

StartGateway = Callable[..., RunningGateway]


@pytest.fixture(scope="module")
def provider() -> Iterator[RunningSimulator]:
    """One provider for all tests of a module; each test brings its own key."""
    with running_simulator() as running:
        yield running


@pytest.fixture
def key(provider: RunningSimulator) -> bytes:
    secret = fresh_key()
    provider.accept_key(secret)
    return secret


@pytest.fixture
def start(tmp_path: Path, provider: RunningSimulator, key: bytes) -> Iterator[StartGateway]:
    """Starts gateways that end with the test."""
    with ExitStack() as stack:

        def begin(name: str = "gateway", **options: object) -> RunningGateway:
            home = tmp_path / name
            home.mkdir(exist_ok=True)
            return stack.enter_context(
                running_gateway(
                    home,
                    upstream=provider.openai_url,
                    key=key,
                    **options,  # type: ignore[arg-type]  # passed on as they are
                )
            )

        yield begin


@pytest.fixture
def files(tmp_path: Path, provider: RunningSimulator, key: bytes) -> GatewayFiles:
    """The files of a gateway that the test starts itself."""
    return GatewayFiles(tmp_path / "own", upstream=provider.openai_url, key=key)
