"""The kinds of file that a key is planted in, as people write them."""

from __future__ import annotations

import base64
import gzip
import json
import random
import urllib.parse
from collections.abc import Callable

from key_forms import BASE32, Kind, of

Beside = tuple[str, str] | None
Maker = Callable[[Kind, str, Beside], bytes]


def camel(variable: str) -> str:
    first, *rest = variable.lower().split("_")
    return first + "".join(word.capitalize() for word in rest)


def companion(kind: Kind, chance: random.Random) -> Beside:
    """The name and value that stand beside the key, where something always does."""
    if not kind.companion:
        return None
    name, _, value = kind.companion.partition(" ")
    return name, value.replace("{id}", of(BASE32, 16)(chance))


def assignments(kind: Kind, value: str, beside: Beside) -> list[tuple[str, str]]:
    return [*([beside] if beside else []), (kind.variable, value)]


def python(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["import os", "", f"# talks to {kind.host}", ""]
    for name, text in assignments(kind, value, beside):
        lines.append(f"{name} = {text!r}" if "\n" not in text else f'{name} = """{text}"""')
    lines += ["", f"client = {kind.client}(api_key={kind.variable}, timeout=30)", ""]
    return "\n".join(lines).encode()


def python_call(kind: Kind, value: str, beside: Beside) -> bytes:
    extra = f'aws_access_key_id="{beside[1]}", aws_secret_access_key=' if beside else "api_key="
    if kind.name == "aws-lone-id":
        extra = "aws_access_key_id="
    text = json.dumps(value)
    return f'def make():\n    return {kind.client}({extra}{text})\n\n\nmodel = "large-2"\n'.encode()


def typescript(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = [f"// {kind.host}", "export const config = {"]
    for name, text in assignments(kind, value, beside):
        lines.append(f"  {camel(name)}: process.env.{name} ?? {json.dumps(text)},")
    return "\n".join([*lines, "  timeout: 30_000,", "};", ""]).encode()


def notebook(kind: Kind, value: str, beside: Beside) -> bytes:
    source = [f'os.environ["{n}"] = {json.dumps(t)}\n' for n, t in assignments(kind, value, beside)]
    cell = {"cell_type": "code", "execution_count": 3, "metadata": {}, "outputs": [],
            "source": ["import os\n", *source, f"client = {kind.client}()\n"]}  # fmt: skip
    book = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(book, indent=1).encode()


def notebook_output(kind: Kind, value: str, beside: Beside) -> bytes:
    shown = "".join(f"{n}={t}\n" for n, t in assignments(kind, value, beside))
    output = {
        "name": "stdout",
        "output_type": "stream",
        "text": [json.dumps({"env": shown}) + "\n"],
    }
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [output],
            "source": ["!env | jq\n"]}  # fmt: skip
    return json.dumps({"cells": [cell], "metadata": {}, "nbformat": 4}, indent=1).encode()


def dotenv(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["# local", "DEBUG=1", "PORT=8080"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "\\n")
        lines.append(f'{name}="{flat}"' if "\\n" in flat else f"{name}={flat}")
    return "\n".join([*lines, "LOG_LEVEL=info", ""]).encode()


def compose(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["services:", "  app:", "    image: app:1.4", "    environment:"]
    for name, text in assignments(kind, value, beside):
        lines.append(f"      {name}: {json.dumps(text)}")
    return "\n".join([*lines, "    ports:", '      - "8080:8080"', ""]).encode()


def kubernetes_secret(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = [
        "apiVersion: v1",
        "kind: Secret",
        "metadata:",
        "  name: app-secrets",
        "type: Opaque",
        "data:",
    ]
    for name, text in assignments(kind, value, beside):
        lines.append(f"  {name}: {base64.b64encode(text.encode()).decode()}")
    return "\n".join([*lines, ""]).encode()


def kubernetes_named(kind: Kind, value: str, beside: Beside) -> bytes:
    """The variable's name is general; the secret's own name says whose it is."""
    service = kind.variable.split("_", maxsplit=1)[0].lower()
    lines = ["apiVersion: v1", "data:"]
    if beside:
        lines.append(f"  access-key-id: {base64.b64encode(beside[1].encode()).decode()}")
    lines += [
        f"  api-key: {base64.b64encode(value.encode()).decode()}",
        "kind: Secret",
        "metadata:",
    ]
    return "\n".join(
        [*lines, f"  name: {service}", "  namespace: prod", "type: Opaque", ""]
    ).encode()


def kubernetes_deployment(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["kind: Deployment", "spec:", "  containers:", "  - name: app", "    env:"]
    for name, text in assignments(kind, value, beside):
        lines += [f"    - name: {name}", f"      value: {json.dumps(text)}"]
    return "\n".join([*lines, "    resources: {}", ""]).encode()


def helm_release(kind: Kind, value: str, beside: Beside) -> bytes:
    manifest = kubernetes_deployment(kind, value, beside).decode()
    release = gzip.compress(json.dumps({"name": "app", "manifest": manifest}).encode(), mtime=0)
    text = base64.b64encode(base64.b64encode(release)).decode()
    return f"kind: Secret\ntype: helm.sh/release.v1\ndata:\n  release: {text}\n".encode()


def terraform(kind: Kind, value: str, beside: Beside) -> bytes:
    blocks = []
    for name, text in assignments(kind, value, beside):
        body = f"<<EOT\n{text}EOT" if "\n" in text else json.dumps(text)
        blocks.append(f'variable "{name.lower()}" {{\n  type    = string\n  default = {body}\n}}\n')
    return "\n".join(blocks).encode()


def terraform_state(kind: Kind, value: str, beside: Beside) -> bytes:
    data = dict(assignments(kind, value, beside))
    attributes = {"id": "app", "secret_string": json.dumps(data)}
    resource = {"mode": "managed", "type": "aws_secretsmanager_secret_version", "name": "app",
                "instances": [{"attributes": attributes}]}  # fmt: skip
    return json.dumps({"version": 4, "serial": 12, "resources": [resource]}, indent=2).encode()


def settings_json(kind: Kind, value: str, beside: Beside) -> bytes:
    data = {camel(name): text for name, text in assignments(kind, value, beside)}
    return json.dumps({"endpoint": f"https://{kind.host}/v1", **data}, indent=2).encode()


def mcp_json(kind: Kind, value: str, beside: Beside) -> bytes:
    env = dict(assignments(kind, value, beside))
    server = {"command": "npx", "args": ["-y", "server"], "env": env}
    return json.dumps({"mcpServers": {"tool": server}}, indent=2).encode()


def history(kind: Kind, value: str, beside: Beside) -> bytes:
    flat = value.replace("\n", "\\n")
    lines = ["cd src", "ls -la"]
    if beside:
        lines.append(f"export {beside[0]}={beside[1]}")
    lines += [f'export {kind.variable}="{flat}"', "make run", "git status"]
    return "\n".join([*lines, ""]).encode()


def curl(kind: Kind, value: str, beside: Beside) -> bytes:
    flat = value.replace("\n", "\\n")
    before = f"# {beside[1]}\n" if beside else ""
    header = kind.header.format(flat)
    return f'{before}curl -s https://{kind.host}/v1/models \\\n  -H "{header}" | jq .\n'.encode()


def ini(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["[default]", "region = eu-west-1"]
    for name, text in assignments(kind, value, beside):
        indented = text.strip().replace("\n", "\n    ")
        lines.append(f"{name.lower()} = {indented}")
    return "\n".join([*lines, "", "[profile dev]", "output = json", ""]).encode()


def toml(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ['title = "app"', "", "[secrets]"]
    for name, text in assignments(kind, value, beside):
        quote = '"""' if "\n" in text else '"'
        lines.append(f"{name.lower()} = {quote}{text}{quote}")
    return "\n".join([*lines, "", "[server]", "port = 8080", ""]).encode()


def dockerfile(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["FROM python:3.12-slim", "WORKDIR /app"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "\\n")
        lines.append(f"ENV {name}={flat}" if "\\n" not in flat else f'ENV {name}="{flat}"')
    return "\n".join([*lines, 'CMD ["python", "-m", "app"]', ""]).encode()


def workflow(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["on: push", "jobs:", "  test:", "    runs-on: ubuntu-24.04", "    env:"]
    for name, text in assignments(kind, value, beside):
        lines.append(f"      {name}: {json.dumps(text)}")
    return "\n".join([*lines, "    steps:", "      - run: make test", ""]).encode()


def query(kind: Kind, value: str, beside: Beside) -> bytes:
    pairs = {n.lower(): t for n, t in assignments(kind, value, beside)}
    log = urllib.parse.urlencode(pairs, safe="")
    return f'10.0.0.7 - - [12/Nov/2026] "GET /setup?{log}&next=%2F HTTP/1.1" 200 13\n'.encode()


def golang(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["package main", "", "const ("]
    for name, text in assignments(kind, value, beside):
        spoken = "".join(word.capitalize() for word in name.split("_"))
        lines.append(f"\tdefault{spoken} = `{text}`")
    return "\n".join([*lines, ")", ""]).encode()


def xml(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ['<?xml version="1.0"?>', "<configuration>", "  <appSettings>"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "&#10;").replace('"', "&quot;")
        lines.append(f'    <add key="{name}" value="{flat}" />')
    return "\n".join([*lines, "  </appSettings>", "</configuration>", ""]).encode()


def properties(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["server.port=8080"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "\\n")
        lines.append(f"app.{name.lower().replace('_', '.')}={flat}")
    return "\n".join([*lines, "logging.level.root=INFO", ""]).encode()


def powershell(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["Set-Location C:\\app"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "`n").replace('"', '`"')
        lines.append(f'$env:{name} = "{flat}"')
    return ("\ufeff" + "\r\n".join([*lines, ".\\run.ps1", ""])).encode("utf-16-le")


def systemd(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["[Service]", "ExecStart=/usr/bin/app"]
    for name, text in assignments(kind, value, beside):
        flat = text.replace("\n", "\\n").replace('"', '\\"')
        lines.append(f'Environment="{name}={flat}"')
    return "\n".join([*lines, "Restart=always", ""]).encode()


def crontab(kind: Kind, value: str, beside: Beside) -> bytes:
    flat = " ".join(
        f"{n}='{t.strip()}'".replace("\n", "\\n") for n, t in assignments(kind, value, beside)
    )
    return f"MAILTO=ops@corp.example\n5 4 * * * {flat} /usr/local/bin/nightly.sh\n".encode()


def php(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = ["<?php", "return ["]
    for name, text in assignments(kind, value, beside):
        lines.append(f"    '{name.lower()}' => env('{name}', '{text}'),")
    return "\n".join([*lines, "];", ""]).encode()


def har(kind: Kind, value: str, beside: Beside) -> bytes:
    name, _, form = kind.header.partition(": ")
    headers = [{"name": "Host", "value": kind.host}, {"name": name, "value": form.format(value)}]
    if beside:
        headers.append({"name": "X-Key-Id", "value": beside[1]})
    request = {"method": "POST", "url": f"https://{kind.host}/v1/run", "headers": headers}
    return json.dumps({"log": {"entries": [{"request": request}]}}).encode()


def traceback(kind: Kind, value: str, beside: Beside) -> bytes:
    data = dict(assignments(kind, value, beside))
    return f"2026-11-12 ERROR app.config: bad configuration: {data!r} (retry in 5s)\n".encode()


def makefile(kind: Kind, value: str, beside: Beside) -> bytes:
    lines = [".PHONY: run"]
    for name, text in assignments(kind, value, beside):
        flat = text.strip().replace("\n", "\\n")
        lines.append(f"export {name} := {flat}")
    return "\n".join([*lines, "run:", "\t./app", ""]).encode()


def flags(kind: Kind, value: str, beside: Beside) -> bytes:
    service = kind.variable.split("_", maxsplit=1)[0].lower()
    flat = value.strip().replace("\n", "\\n").replace("'", "")
    extra = f"--access-key-id {beside[1]} " if beside else ""
    return f"cd app\n{service}-cli deploy {extra}--api-key '{flat}' --region eu\nexit\n".encode()


FILES: dict[str, tuple[str, Maker]] = {
    "python": ("settings.py", python),
    "python call": ("client.py", python_call),
    "typescript": ("config.ts", typescript),
    "notebook": ("analysis.ipynb", notebook),
    "notebook output": ("explore.ipynb", notebook_output),
    "env": (".env", dotenv),
    "compose": ("docker-compose.yml", compose),
    "k8s secret": ("secret.yaml", kubernetes_secret),
    "k8s named": ("external.yaml", kubernetes_named),
    "k8s deployment": ("deployment.yaml", kubernetes_deployment),
    "helm release": ("release.yaml", helm_release),
    "terraform": ("variables.tf", terraform),
    "tf state": ("terraform.tfstate", terraform_state),
    "json": ("appsettings.json", settings_json),
    "mcp": ("mcp.json", mcp_json),
    "history": (".bash_history", history),
    "curl": ("notes.md", curl),
    "ini": ("service.ini", ini),
    "toml": ("secrets.toml", toml),
    "dockerfile": ("Dockerfile", dockerfile),
    "workflow": ("workflow.yml", workflow),
    "url log": ("access.log", query),
}
"""The kinds that the detectors were developed against."""

HELD_OUT: dict[str, tuple[str, Maker]] = {
    "go": ("defaults.go", golang),
    "xml": ("web.config", xml),
    "properties": ("application.properties", properties),
    "powershell utf-16": ("profile.ps1", powershell),
    "systemd": ("app.service", systemd),
    "crontab": ("crontab", crontab),
    "php": ("services.php", php),
    "har": ("session.har", har),
    "log": ("app.log", traceback),
    "make": ("Makefile", makefile),
    "flags": (".zsh_history", flags),
}
"""Written after the detectors were done. At first 99.7 % were found and 98.7 % attributed; what
that showed to be wrong everywhere (dotted and camel-case names, line breaks of XML) was mended."""
