"""A policy that points a known credential elsewhere must not take its secret along."""

from __future__ import annotations

import time
from pathlib import Path

from tests.support.gateway_kit import GatewayFiles, start_gateway
from tests.support.simulated_provider import fresh_key, running_simulator


def test_a_credential_that_now_leads_elsewhere_does_not_take_its_secret_along(
    tmp_path: Path,
) -> None:
    key, decoy = fresh_key(), fresh_key()
    with running_simulator() as provider, running_simulator() as elsewhere:
        provider.accept_key(key)
        stolen = elsewhere.accept_key(key)
        good = elsewhere.accept_key(decoy)
        files = GatewayFiles(tmp_path, upstream=provider.openai_url, key=key)
        other = files.keys / "decoy"
        other.write_bytes(decoy)
        other.chmod(0o600)
        # The real key may go to the provider, the decoy to the other host, and neither elsewhere.
        origin = elsewhere.openai_url.removesuffix("/v1")
        text = files.gateway_file.read_text().replace(f"{files.keys}/*", str(files.key_file))
        text += f"""
[[binding]]
reference = "file://{other}"
provider = "openai-compatible"
hosts = ["{origin}"]
purposes = ["development", "eval"]
"""
        files.gateway_file.write_text(text)
        gateway = start_gateway(files)
        try:
            lease = gateway.lease()
            assert gateway.chat(lease).status_code == 200
            policy = files.policy_file.read_text()
            policy = policy.replace(provider.openai_url, elsewhere.openai_url)
            policy = policy.replace(f"file://{files.key_file}", f"file://{other}")
            files.policy_file.write_text(policy)
            gateway.control("policy.reload")
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline and not elsewhere.requests:
                gateway.chat(lease)
            used = [request.key_id for request in elsewhere.requests]
            assert stolen not in used
            assert used
            assert set(used) == {good}
        finally:
            gateway.client.close()
            gateway.stop()
