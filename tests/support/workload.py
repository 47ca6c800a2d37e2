"""The workload of promise P1: everything the product does, with canaries for keys.

Every provider key and every key that a person sends by mistake has the core of one ``Family`` in
it, so that a search for the core finds any of them, and also a part of one.
"""

from __future__ import annotations

import contextlib
import json
import os
import pty
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
from tests.support.aws import REGION, Aws
from tests.support.canaries import Family
from tests.support.collector import Collector
from tests.support.hostile_upstream import HostileUpstream
from tests.support.issuer_thread import IssuerThread, exchange
from tests.support.key_handing import key_handing_answers
from tests.support.openbao import Bao
from tests.support.simulated_provider import RunningSimulator
from tests.support.supervised import Home, Supervised, wait_until

STORES = ("sealed-piped", "sealed-typed", "file", "env", "vault", "aws")
FAILURES = (
    "sim-fail-500", "sim-fail-429", "sim-fail-403", "sim-reset", "sim-reset-midstream",
    "sim-echo-key", "sim-echo-key-split", "sim-redirect", "sim-garbage", "sim-encoded",
    "sim-no-usage",
)  # fmt: skip
CLIENT = """
import openai, sys
client = openai.OpenAI(max_retries=0)
messages = [{"role": "user", "content": "hello"}]
print(client.chat.completions.create(model="via-env", messages=messages).choices[0].finish_reason)
for chunk in client.chat.completions.create(model="via-file", messages=messages, stream=True):
    pass
for model in ("sim-echo-key", "sim-echo-key-split"):
    try:
        client.chat.completions.create(model=model, messages=messages)
    except openai.APIError as error:
        print(type(error).__name__)
print("done", flush=True)
sys.stdin.read()
"""


class Workload:
    """What went in, and what came out."""

    def __init__(self, directory: Path) -> None:
        self.home = Home(directory)
        self.family = Family()
        self.keys: dict[str, list[bytes]] = {
            # No detector knows this form: only the gateway itself can tell that it is a key.
            name: [self.family.key("corp." if name == "file" else "sk-test-")]
            for name in STORES
        }
        self.vault_token = b""
        self.aws_secret = self.family.key("aws")
        self.unused = self.family.key()
        """A key in the environment of `keylease up` that no reference names."""
        self.by_mistake = self.family.key("sk-proj-")
        self.another_mistake = self.family.key("sk-ant-api03-")
        self.aws_name = f"canary-{secrets.token_hex(4)}"
        self.source = directory.parent / "mounted"
        """The user's own file store."""
        self.leases: list[str] = []
        self.subject_tokens: list[str] = []
        self.pages: dict[str, bytes] = {}
        self.answers: list[httpx.Response] = []

    def key(self, name: str) -> bytes:
        return self.keys[name][-1]

    # --- before the start ------------------------------------------------------------------------

    def fill_stores(self, bao: Bao, aws: Aws) -> None:
        self.source.mkdir(mode=0o700)
        self.write_file_key()
        bao.put_v2("canary", value=self.key("vault").decode())
        bao.policy("canary", {"secret/data/canary": ["read"]})
        self.vault_token = bao.token("canary").encode()
        with contextlib.closing(aws.secrets_manager()) as client:
            text = json.dumps({"key": self.key("aws").decode()})
            client.create_secret(Name=self.aws_name, SecretString=text)
        piped = self.home.run("secret", "put", "piped", entered=self.key("sealed-piped"))
        assert piped.returncode == 0, piped.stderr
        shown = self.type_secret("typed", self.key("sealed-typed"))
        (self.home.logs / "terminal").write_bytes(shown)
        # A key in the place of the name is refused, and not repeated.
        refused = self.home.run("secret", "put", "name", self.by_mistake.decode())
        assert refused.returncode == 64

    def write_file_key(self) -> None:
        draft = self.source / ".draft"
        draft.write_bytes(self.key("file"))
        draft.chmod(0o600)
        draft.rename(self.source / "key")

    def type_secret(self, name: str, secret: bytes) -> bytes:
        """`keylease secret put` at a terminal; gives all that the terminal showed."""
        pid, terminal = pty.fork()
        if pid == 0:
            line = self.home.line("secret", "put", name)
            os.chdir(self.home.working)
            os.execve(line[0], line, self.home.environment(TERM="dumb"))  # noqa: S606 - no shell
        shown = b""
        typed = False
        with contextlib.suppress(OSError):  # Linux says EIO at the end
            while data := os.read(terminal, 4096):
                shown += data
                if not typed and b": " in shown:
                    os.write(terminal, secret + b"\r")
                    typed = True
        os.close(terminal)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, shown
        return shown

    def write_files(
        self,
        *,
        simulator: RunningSimulator,
        hostile: HostileUpstream,
        bao: Bao,
        aws: Aws,
        collector: Collector,
        issuer: IssuerThread,
    ) -> None:
        references = {
            "sealed-piped": "sealed://piped",
            "sealed-typed": "sealed://typed",
            "file": f"file://{self.source}/key",
            "env": "env://CANARY_KEY",
            "vault": "vault://secret/canary#value",
            "aws": f"aws-sm://{REGION}/{self.aws_name}#key",
        }
        origin = simulator.openai_url.removesuffix("/v1")
        bindings, credentials, routes = [], [], []
        for name, reference in references.items():
            bindings.append(_binding(reference, "openai-compatible", origin, hostile.url))
            credentials.append(
                _credential(name, "openai-compatible", simulator.openai_url, reference)
            )
            routes.append(_route(f"via-{name}", name, model="gpt-4o-mini"))
        bindings.append(
            _binding("env://CANARY_KEY", "anthropic-compatible", simulator.anthropic_url)
        )
        credentials += [
            _credential(
                "claude", "anthropic-compatible", simulator.anthropic_url, references["env"]
            ),
            _credential("hostile", "openai-compatible", hostile.url, references["file"]),
        ]
        routes += [_route("claude-*", "claude"), _route("hostile-*", "hostile")]
        routes.append(_route("*", "file"))
        (self.home.config / "gateway.toml").write_text(
            f"""
version = 1
[gateway]
workers = 2
[stores]
file_directories = ["{self.source}"]
maximum_age = "1h"
[stores.vault]
address = "{bao.address}"
[stores.aws]
endpoint = "{aws.endpoint}"
[spool]
otlp_endpoint = "{collector.url}"
otlp_allow_private_address = true
[[trusted_issuer]]
issuer = "{issuer.url}"
allow_private_address = true
{"".join(bindings)}
"""
        )
        (self.home.config / "keylease.toml").write_text(
            f"""
version = 1
{"".join(credentials)}
{"".join(routes)}
[[grant]]
name = "all"
principals = ["*"]
models = ["*"]
purposes = ["development"]
environments = ["*"]
content = "masked"
[[trust]]
name = "jobs"
issuer = "{issuer.url}"
audience = "keylease"
principal = "workload:job"
purposes = ["development"]
environments = ["local"]
models = ["*"]
subject_once = true
[trust.claims]
sub = "job"
"""
        )

    def variables(self) -> dict[str, str]:
        """What is in the environment of whoever types `keylease up`."""
        return {
            "CANARY_KEY": self.key("env").decode(),
            "OPENAI_API_KEY": self.unused.decode(),
            "VAULT_TOKEN": self.vault_token.decode(),
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": self.aws_secret.decode(),
        }

    # --- calls -----------------------------------------------------------------------------------

    def lease(self, **wish: object) -> str:
        lease = self.home.lease(**wish)
        self.leases.append(lease)
        return lease

    def chat(self, up: Supervised, lease: str, model: str, **members: object) -> httpx.Response:
        prompt = members.pop("prompt", "Hello")
        body = {"model": model, "messages": [{"role": "user", "content": prompt}], **members}
        with httpx.Client(timeout=30, trust_env=False) as client:
            answer = client.post(
                f"{up.url}/v1/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {lease}"},
            )
        self.answers.append(answer)
        return answer

    def plain_and_streamed(self, up: Supervised) -> None:
        lease = self.lease()
        for store in STORES:
            for stream in (False, True):
                answer = self.chat(up, lease, f"via-{store}", stream=stream)
                assert answer.status_code == 200, answer.text
        claude = httpx.post(
            f"{up.url}/v1/messages",
            json={
                "model": "claude-sonnet-4-5",
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "Hello"}],
            },
            headers={"x-api-key": lease, "anthropic-version": "2023-06-01"},
            trust_env=False,
        )
        assert claude.status_code == 200, claude.text

    def failures(self, up: Supervised) -> None:
        lease = self.lease()
        for model in FAILURES:
            for stream in (False, True):
                # An answer that breaks off in its middle is one of the failures.
                with contextlib.suppress(httpx.RemoteProtocolError):
                    self.chat(up, lease, model, stream=stream)

    def hostile_answers(self, up: Supervised, hostile: HostileUpstream) -> None:
        """A provider that puts the key into every place from which something is recorded."""
        lease = self.lease()
        for index, answer in enumerate(key_handing_answers()):
            hostile.answer = answer
            for stream in (False, True):
                with contextlib.suppress(httpx.RemoteProtocolError):
                    self.chat(up, lease, f"hostile-{index}", stream=stream)

    def rotations(self, up: Supervised, simulator: RunningSimulator, bao: Bao) -> None:
        """Keys that the provider refuses are fetched again."""
        lease = self.lease()
        for store, prefix in (("file", "corp."), ("vault", "sk-test-")):
            old = self.key(store)
            self.keys[store].append(self.family.key(prefix))
            simulator.revoke(simulator.accept_key(old))
            simulator.accept_key(self.key(store))
            if store == "file":
                self.write_file_key()
            else:
                bao.put_v2("canary", value=self.key(store).decode())
            answer = self.chat(up, lease, f"via-{store}")
            assert answer.status_code == 200, answer.text

    def mistakes(self, up: Supervised) -> None:
        """Keys and leases that people put where they do not belong."""
        lease = self.lease()
        key, other = self.by_mistake.decode(), self.another_mistake.decode()
        assert self.chat(up, lease, "via-env", prompt=f"why is {key} refused?").status_code == 200
        self.chat(up, lease, "via-env", prompt=f"api_key={key} and {other} and {lease}")
        self.chat(up, lease, "via-file", prompt=f"is {self.key('file').decode()} fine?")
        self.chat(up, lease, "via-env", prompt=f"echo {key}", stream=True)
        self.chat(up, lease, key)
        self.chat(up, lease, lease[:250])
        self.chat(up, lease, other, stream=True)
        self.chat(up, key, "via-env")  # a key in the place of the lease
        self.chat(up, lease, "via-env", user=key, metadata={"token": other})
        headers = {"authorization": f"Bearer {lease}"}
        for method, path, more in (
            ("GET", f"/v1/models?api_key={lease}", {}),
            ("GET", f"/v1/models/{key}", {}),
            ("GET", f"/v1/models/{lease}", {}),
            ("GET", f"/v1/files/{key}", {}),
            ("GET", f"/v1/files/{lease}", {}),
            ("GET", f"/{lease}", {}),
            ("GET", "/v1/models", {"x-mistake": lease, "cookie": key}),
            ("GET", "/v1/models", {"traceparent": lease, "idempotency-key": key}),
            ("GET", "/v1/models", {"x-api-key": key}),
        ):
            self.answers.append(
                httpx.request(method, up.url + path, headers={**headers, **more}, trust_env=False)
            )
        for wish in (
            ("--environment", key),
            ("--project", key),
            ("--project", lease),
            ("--as", f"user:{other}"),
            ("--model", key),
        ):
            made = self.home.run("lease", "create", "--quiet", *wish)
            self.note_lease(made)
        self.home.run("lease", "revoke", "lease", lease)
        self.home.run("lease", "revoke", "credential", key)
        self.home.run("lease", "revoke", "principal", f"user:{key}")

    def note_lease(self, made: subprocess.CompletedProcess[bytes]) -> None:
        """Printing the lease is the command's purpose; what it says besides is evidence."""
        if made.returncode == 0:
            self.leases.append(made.stdout.decode().strip())
            log = self.home.logs / "commands"
            log.write_bytes(log.read_bytes().replace(made.stdout, b"[the lease]\n"))

    def exchanges(self, up: Supervised, issuer: IssuerThread) -> None:
        """Subject tokens that become leases, and forms with a key in the wrong field."""
        key = self.by_mistake.decode()
        good = self.subject(issuer)
        answer = exchange(up.url, good)
        assert answer.status_code == 200, answer.text
        self.leases.append(answer.json()["access_token"])
        assert self.chat(up, self.leases[-1], "via-vault").status_code == 200
        self.answers.append(exchange(up.url, good))  # used before
        self.answers += [
            exchange(up.url, self.subject(issuer, **claims))
            for claims in ({"lives": -100}, {"aud": "others"}, {"sub": key}, {"iss": f"x{key}"})
        ]
        self.answers += [
            exchange(up.url, self.subject(issuer), **{name: value})
            for name in ("purpose", "environment", "models", "scope", "audience", "resource")
            for value in (key, self.leases[0])
        ]
        self.answers.append(exchange(up.url, self.leases[0]))
        self.answers.append(exchange(up.url, key))

    def subject(self, issuer: IssuerThread, **claims: object) -> str:
        token = issuer.token(**claims)
        self.subject_tokens.append(token)
        return token

    # --- crashes ---------------------------------------------------------------------------------

    def crashes(self, up: Supervised, simulator: RunningSimulator) -> None:
        """Kill -9 a worker and then the coordinator while streams are under way."""
        for kill in (up.kill_worker, up.kill_coordinator):
            lease = self.lease()
            simulator.set_pace(chunk_delay=0.2)
            streams = [
                threading.Thread(target=self._stream, args=(up.url, lease, store), daemon=True)
                for store in STORES
            ]
            for thread in streams:
                thread.start()
            time.sleep(0.5)
            kill()
            simulator.set_pace()
            for thread in streams:
                thread.join(timeout=30)
            answer = self.chat(up, self.lease(), "via-file")
            assert answer.status_code == 200, answer.text

    def _stream(self, url: str, lease: str, store: str) -> None:
        body = {"model": f"via-{store}", "stream": True,
                "messages": [{"role": "user", "content": "word " * 50}]}  # fmt: skip
        # The worker is killed under it.
        with contextlib.suppress(httpx.HTTPError):
            httpx.post(
                f"{url}/v1/chat/completions",
                json=body,
                headers={"authorization": f"Bearer {lease}"},
                trust_env=False,
                timeout=30,
            )

    # --- what there is to see --------------------------------------------------------------------

    @contextlib.contextmanager
    def running_client(self) -> Iterator[tuple[int, int]]:
        """`keylease run` with a client that has made its calls; pids of the agent and of it."""
        agent = self.home.start("run", "run", "--", sys.executable, "-c", CLIENT)
        try:
            wait_until(lambda: "done" in self.home.said("run") or agent.poll() is not None)
            assert agent.poll() is None, self.home.said("run")
            children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
            yield agent.pid, int(children[0])
        finally:
            assert agent.stdin is not None
            agent.stdin.close()
            agent.wait(timeout=30)

    @contextlib.contextmanager
    def half_put(self, secret: bytes) -> Iterator[subprocess.Popen[bytes]]:
        """`keylease secret put` that has read the secret and waits for the end of its input."""
        process = self.home.start("half-put", "secret", "put", f"half-{secrets.token_hex(4)}")
        assert process.stdin is not None
        process.stdin.write(secret)
        process.stdin.flush()
        try:
            yield process
        finally:
            process.stdin.close()
            assert process.wait(timeout=30) == 0

    def collect_pages(self, up: Supervised) -> None:
        """What the gateway tells whoever asks."""
        self.pages["metrics"] = httpx.get(up.metrics_url, trust_env=False).content
        for path in ("/healthz", "/readyz", "/.well-known/jwks.json"):
            self.pages[path] = httpx.get(up.url + path, trust_env=False).content
        for operation, arguments in (
            ("status", {}),
            ("posture", {}),
            ("policy.status", {}),
            ("calls.list", {"limit": 10_000}),
            ("audit.list", {"limit": 10_000}),
            ("credentials.check", {}),
            ("lease.revocations", {}),
        ):
            answer = self.home.control(operation, **arguments)
            self.pages[operation] = json.dumps(answer).encode()
        for command in (
            ("calls", "--json", "--limit", "10000"), ("doctor",), ("doctor", "--json"),
            ("policy", "check"), ("config", "show"), ("secret", "list"),
            ("secret", "check", "sealed://piped"), ("lease", "list-revocations"),
        ):  # fmt: skip
            result = self.home.run(*command, variables=self.variables())
            self.pages[" ".join(command)] = result.stdout + result.stderr


def _binding(reference: str, provider: str, *hosts: str) -> str:
    return f"""
[[binding]]
reference = "{reference}"
provider = "{provider}"
hosts = {json.dumps(hosts)}
purposes = ["development"]
"""


def _credential(name: str, provider: str, upstream: str, reference: str) -> str:
    return f"""
[[credential]]
name = "{name}"
provider = "{provider}"
upstream = "{upstream}"
reference = "{reference}"
purposes = ["development"]
environment = "local"
"""


def _route(models: str, credential: str, *, model: str = "") -> str:
    renamed = f', model = "{model}"' if model else ""
    name = models.replace("*", "any")
    return f"""
[[route]]
name = "{name}"
models = ["{models}"]
targets = [{{ credential = "{credential}"{renamed} }}]
"""
