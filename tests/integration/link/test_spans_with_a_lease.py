"""A program with a lease and nothing else sends spans: real gateway, real platform, real SDK."""

from __future__ import annotations

import json
import os
import pwd
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support import policy_kit
from tests.support.furnished import bearer, first_tenant
from tests.support.hostile_upstream import hostile_upstream
from tests.support.linked_gateway import LinkedPlace, call, wait_for
from tests.support.running_gateway import RunningGateway
from tests.support.serving_platform import ServingPlatform, serving_platform
from tests.support.trace_kit import export

from keylease.contracts.policy import RevocationKind
from keylease.contracts.purposes import Purpose
from keylease.errors import TokenExchangeRefused
from keylease.platform.audit.repository import Filter
from keylease.platform.db.paging import PageRequest
from keylease.platform.identity.directory.shelf import Content
from keylease.primitives.clock import SystemClock
from keylease.sdk.tracing.trace_tokens import TraceToken, TraceTokens

# It ends at once: the token is obtained, and the spans are sent, while the interpreter shuts down.
PROGRAM = textwrap.dedent(
    """
    import os
    import keylease.tracing

    keylease.tracing.init(service="shop")

    @keylease.tracing.traced(kind="agent")
    def answer(question):
        return "Tuesday"

    answer("When do you deliver?")
    assert not any(value.startswith(("kll_", "kl_")) for value in os.environ.values())
    """
)


class Site:
    """A gateway that is enrolled at a platform, with a policy in force."""

    def __init__(self, platform: ServingPlatform, gateway: RunningGateway, home: Path) -> None:
        self.platform = platform
        self.gateway = gateway
        self.home = home

        async def prepared() -> tuple[str, str]:
            services = platform.services
            made = await services.directory.projects.create(platform.owner, Content(name="apollo"))
            return made.id, await bearer(services, await first_tenant(services))

        self.apollo, self._bearer = platform.do(prepared)

    def token(self, lease: str) -> TraceToken:
        """As the SDK gets one."""
        return TraceTokens(self.gateway.url, lambda: lease, clock=SystemClock()).current()

    def send(self, shown: str, name: str) -> httpx.Response:
        head = {"content-type": "application/x-protobuf", "authorization": f"Bearer {shown}"}
        content = export(name).SerializeToString()
        url = f"{self.platform.url}/v1/traces"
        return httpx.post(url, content=content, headers=head, trust_env=False, timeout=30)

    def found(self, filter_: str, project_id: str = "") -> list[str]:
        """Names of spans, by API."""
        project_id = project_id or self.default()
        answer = httpx.get(
            f"{self.platform.url}/v1/projects/{project_id}/spans",
            params={"filter": filter_},
            headers={"authorization": self._bearer},
            trust_env=False,
            timeout=30,
        )
        assert answer.status_code == 200, answer.text
        return [line["name"] for line in answer.json()["items"]]

    def default(self) -> str:
        """Of spans that name no project, once some have come."""

        async def identifier() -> str:
            projects = self.platform.services.traces.projects
            return await projects.find(self.platform.owner.organization_id, "")

        return self.platform.do(identifier)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    with hostile_upstream() as upstream, serving_platform(home / "platform") as platform:
        place = LinkedPlace(home / "place", platform.url, upstream.url)
        minted = platform.do(lambda: platform.gateways.create_code(platform.owner, group="local"))
        assert place.enroll(minted.text).returncode == 0
        with place.running() as gateway:

            async def write() -> None:
                grant = policy_kit.grant(models=("*",), purposes=(Purpose.DEVELOPMENT,))
                await platform.policy.resources.create(platform.owner, grant)
                await policy_kit.publish(platform.policy, platform.owner)

            platform.do(write)
            wait_for(lambda: gateway.control("policy.status")["version"])
            yield Site(platform, gateway, home)


def test_under_keylease_run_a_program_needs_nothing_to_send_spans(site: Site) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "keylease", "run",
         "--data-dir", str(site.gateway.data_dir), "--config-dir", str(site.gateway.config_dir),
         "--", sys.executable, "-c", PROGRAM],
        env={"PATH": os.environ["PATH"], "HOME": str(site.home)},
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )  # fmt: skip
    assert (ran.returncode, ran.stderr) == (0, "")
    me = pwd.getpwuid(os.getuid()).pw_name
    wait_for(lambda: site.found(f'attributes["keylease.sender"] = "user:{me}" and kind = agent'))
    assert site.found('attributes["keylease.sender"] = "user:nobody-else"') == []


def test_what_a_lease_can_do_with_spans_and_what_it_cannot(site: Site) -> None:
    gateway, me = site.gateway, "user:ada"
    lease = gateway.control(
        "lease.create",
        purpose="development",
        environment="local",
        principal=me,
        project="apollo",
    )
    token = site.token(lease["token"])
    assert token.server == site.platform.url
    # 1. Spans go where the calls of the lease go, and say whose they are.
    assert site.send(token.text, "by hand").status_code == 200
    wanted = f'attributes["keylease.sender"] = "{me}"'
    wait_for(lambda: site.found(wanted, site.apollo))
    by_lease = f'attributes["keylease.sender_lease_id"] = "{lease["lease_id"]}"'
    assert site.found(by_lease, site.apollo) == ["by hand"]
    # 2. Neither stands in for the other.
    assert call(gateway, token.text) == (401, "lease_malformed")
    disguised = "kll_" + token.text.removeprefix("klt_")
    assert call(gateway, disguised) == (401, "lease_malformed")
    refused = site.send(lease["token"], "with the lease")
    assert (refused.status_code, b"ingest_key_required" in refused.content) == (401, True)
    # 3. What was given is written down, at the platform too.
    audit = site.platform.services.audit

    def issued() -> list[dict[str, object]]:
        page = site.platform.do(
            lambda: audit.log.search(site.platform.owner, Filter(), PageRequest(limit=200))
        )
        entries = [json.loads(placed.entry) for placed in page.items]
        return [entry for entry in entries if entry["action"] == "trace_token.issued"]

    wait_for(lambda: [entry for entry in issued() if entry["principal"] == me])
    # 4. A revoked lease gets no further token; here the one that is out ends, too.
    site.platform.do(
        lambda: site.platform.policy.revocations.revoke(
            site.platform.owner, RevocationKind.LEASE, lease["lease_id"]
        )
    )
    wait_for(lambda: site.send(token.text, "too late").status_code == 401)

    def is_refused() -> bool:
        try:
            site.token(lease["token"])
        except TokenExchangeRefused as error:
            return "lease_revoked" in error.message
        return False

    wait_for(is_refused)
    # 5. None of it lies anywhere.
    written = b"".join(
        path.read_bytes()
        for path in site.home.rglob("*")
        if path.is_file() and not path.is_socket()
    )
    logged = gateway.stderr()
    for secret in (lease["token"], token.text):
        assert secret.encode() not in written
        assert secret.rpartition(".")[2].encode() not in written
        assert secret not in logged
