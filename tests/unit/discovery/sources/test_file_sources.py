"""What each source says about a place: the kind, the name, the environment, the detail."""

from __future__ import annotations

import json

import pytest

from keylease.contracts.findings import PlaceKind
from keylease.discovery.document import Context, Document
from keylease.discovery.sources import source_of

VALUE = "VALUE-THAT-IS-LOOKED-FOR"
K = PlaceKind


def context(path: str, content: str) -> Context:
    data = content.replace("@@", VALUE).encode()
    source = source_of(path, data)
    return source.context(Document(data, path), data.index(VALUE.encode()))


CASES = {
    "plain": ("/r/src/a.py", 'client = OpenAI(api_key="@@")', K.FILE, "api_key", "", ""),
    "env": ("/r/.env.production", "A=1\nexport OPENAI_API_KEY='@@'\n", K.ENVIRONMENT_FILE,
            "OPENAI_API_KEY", "production", ""),
    "env suffix": ("/r/staging.env", "X_TOKEN=@@", K.ENVIRONMENT_FILE, "X_TOKEN", "staging", ""),
    "dev vars": ("/r/.dev.vars", "X_TOKEN=@@", K.ENVIRONMENT_FILE, "X_TOKEN", "development", ""),
    "history": ("/h/.zsh_history", ": 1:0;export OPENAI_API_KEY=@@\n", K.SHELL_HISTORY,
                "OPENAI_API_KEY", "", ""),
    "fish": ("/h/.local/share/fish/fish_history", "- cmd: x --api-key @@\n", K.SHELL_HISTORY,
             "api-key", "", ""),
    "profile": ("/h/.bashrc", 'export HF_TOKEN="@@"', K.SHELL_PROFILE, "HF_TOKEN", "", ""),
    "pam": ("/etc/environment", "HF_TOKEN=@@", K.SHELL_PROFILE, "HF_TOKEN", "", ""),
    "gha": ("/r/.github/workflows/deploy.yml",
            "jobs:\n  ship:\n    environment:\n      name: prod-eu\n    env:\n      A_KEY: @@\n",
            K.CI_CONFIGURATION, "A_KEY", "prod-eu", "job ship"),
    "gitlab": ("/r/.gitlab-ci.yml",
               "deploy:\n  environment: production\n  variables:\n    A_KEY: '@@'\n",
               K.CI_CONFIGURATION, "A_KEY", "production", "job deploy"),
    "circle": ("/r/.circleci/config.yml", "jobs:\n  b:\n    environment:\n      A_KEY: @@\n",
               K.CI_CONFIGURATION, "A_KEY", "", ""),
    "azure": ("/r/azure-pipelines.yml", "variables:\n  A_KEY: @@\n", K.CI_CONFIGURATION,
              "A_KEY", "", ""),
    "dockerfile": ("/r/api.Dockerfile", "FROM x\nENV A_KEY=@@\n", K.CONTAINER_CONFIGURATION,
                   "A_KEY", "", "ENV instruction"),
    "compose": ("/r/docker-compose.prod.yml",
                "services:\n  api:\n    environment:\n      - A_KEY=@@\n",
                K.CONTAINER_CONFIGURATION, "A_KEY", "production", "service api"),
    "secret": ("/r/k8s/s.yaml",
               ("apiVersion: v1\nkind: Secret\nmetadata:\n  name: ai\n  namespace: prod\n"
               "  labels:\n    team: nlp\ndata:\n  OPENAI: @@\n"),
               K.KUBERNETES_MANIFEST, "OPENAI", "production", "Secret prod/ai"),
    "deployment": ("/r/k8s/d.yaml",
                   ("apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: api\nspec:\n"
                   "  template:\n    spec:\n      containers:\n      - name: c\n        env:\n"
                   "        - name: A_KEY\n          value: @@\n"),
                   K.KUBERNETES_MANIFEST, "A_KEY", "", "Deployment api"),
    "helm": ("/r/chart/values-prod.yaml", "api:\n  openai:\n    key: @@\n", K.HELM_VALUES, "key",
             "production", "api.openai.key"),
    "helm env": ("/r/chart/values.yaml", "env:\n  - name: A_KEY\n    value: @@\n", K.HELM_VALUES,
                 "A_KEY", "", "env.value"),
    "tf": ("/r/main.tf", 'resource "x" "y" {\n  api_key = "@@"\n}\n', K.TERRAFORM_CODE, "api_key",
           "", "resource x.y"),
    "tf variable": ("/r/v.tf", 'variable "openai_api_key" {\n  default = "@@"\n}\n',
                    K.TERRAFORM_CODE, "openai_api_key", "", "variable openai_api_key"),
    "tfvars": ("/r/prod.tfvars", 'a = {\n}\nopenai_api_key = "@@"', K.TERRAFORM_CODE,
               "openai_api_key", "production", ""),
    "tfstate": ("/r/terraform.tfstate",
                json.dumps({"outputs": {}, "resources": [{"type": "aws_secret", "name": "ai",
                            "instances": [{"attributes": {"secret_string": "@@"}}]}]}),
                K.TERRAFORM_STATE, "secret_string", "", "aws_secret.ai"),
    "tfstate output": ("/r/terraform.tfstate",
                       '{"outputs": {"openai_key": {"value": "@@"}}, "resources": []}',
                       K.TERRAFORM_STATE, "value", "", "output"),
    "vercel": ("/r/vercel.json", '{"env": {"A_KEY": "@@"}}', K.DEPLOYMENT_CONFIGURATION, "A_KEY",
               "", "Vercel"),
    "netlify": ("/r/netlify.toml", '[context.production.environment]\n  A_KEY = "@@"',
                K.DEPLOYMENT_CONFIGURATION, "A_KEY", "production",
                "Netlify context.production.environment"),
    "wrangler": ("/r/wrangler.toml", '[env.staging.vars]\nA_KEY = "@@"',
                 K.DEPLOYMENT_CONFIGURATION, "A_KEY", "staging", "Cloudflare env.staging.vars"),
    "crontab": ("/var/spool/cron/crontabs/alice", "A_KEY=@@\n* * * * * run\n", K.SCHEDULE,
                "A_KEY", "", ""),
    "cron.d": ("/etc/cron.d/nightly", "A_KEY=@@\n", K.SCHEDULE, "A_KEY", "", ""),
    "unit": ("/etc/systemd/system/api.service", "[Service]\nUser=svc\nEnvironment=A_KEY=@@\n",
             K.SERVICE_UNIT, "A_KEY", "", "api.service"),
    "drop-in": ("/etc/systemd/system/api.service.d/key.conf", "[Service]\nEnvironment=A_KEY=@@\n",
                K.SERVICE_UNIT, "A_KEY", "", "key.conf"),
    "mcp": ("/h/.cursor/mcp.json",
            '{"mcpServers": {"search": {"command": "x", "env": {"A_KEY": "@@"}}}}',
            K.EDITOR_CONFIGURATION, "A_KEY", "", "MCP server search"),
    "mcp in project": ("/r/.mcp.json",
                       '{"mcpServers": {"kb": {"url": "x", "headers": {"Authorization": "@@"}}}}',
                       K.EDITOR_CONFIGURATION, "Authorization", "", "MCP server kb"),
    "vscode": ("/r/.vscode/settings.json", '{"x.apiKey": "@@"}', K.EDITOR_CONFIGURATION,
               "x.apiKey", "", ""),
    "npmrc": ("/h/.npmrc", "//npm.example.org/:_authToken=@@", K.PACKAGE_CONFIGURATION,
              "_authToken", "", "npm.example.org"),
    "pypirc": ("/h/.pypirc", "[internal]\npassword = @@", K.PACKAGE_CONFIGURATION, "password", "",
               "internal"),
    "netrc": ("/h/.netrc", "machine api.example.org\npassword=@@", K.PACKAGE_CONFIGURATION,
              "password", "", "api.example.org"),
    "aws": ("/h/.aws/credentials", "[prod]\naws_secret_access_key = @@", K.CLOUD_CONFIGURATION,
            "aws_secret_access_key", "production", "profile prod"),
    "gcloud": ("/h/.config/gcloud/legacy.json", '{"private_key": "@@"}', K.CLOUD_CONFIGURATION,
               "private_key", "", ""),
    "docker": ("/h/.docker/config.json", '{"auths": {"x": {"auth": "@@"}}}',
               K.CLOUD_CONFIGURATION, "auth", "", ""),
    "git": ("/r/.git/config", '[remote "origin"]\n  url = https://user:@@@example.org/x.git',
            K.GIT_CONFIGURATION, "user", "", 'remote "origin"'),
    "git credentials": ("/h/.git-credentials", "https://user:@@@example.org", K.GIT_CONFIGURATION,
                        "user", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_place_is_told_by_its_file(case: tuple[str, str, PlaceKind, str, str, str]) -> None:
    path, content, *expected = case
    found = context(path, content)
    assert [found.kind, found.name, found.environment, found.detail] == expected


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/r/environment", "A=@@"),
        ("/r/src/config.yml", "a: @@"),
        ("/r/project.json", "@@"),
        ("/r/nginx.conf", "@@"),
        ("/r/auth.json", "@@"),
        ("/r/compose.yml", "a: @@"),
        ("/r/env.d.ts", "@@"),
    ],
)
def test_names_that_others_use_too_are_plain_files(path: str, content: str) -> None:
    assert context(path, content).kind is PlaceKind.FILE


def test_owners_that_a_place_names() -> None:
    path, content, *_ = CASES["secret"]
    assert [(o.owner, o.reason) for o in context(path, content).owners] == [("nlp", "label team")]
    path, content, *_ = CASES["unit"]
    assert [o.owner for o in context(path, content).owners] == ["svc"]
    path, content, *_ = CASES["crontab"]
    assert [o.owner for o in context(path, content).owners] == ["alice"]


def notebook(*cells: dict[str, object]) -> str:
    return json.dumps({"cells": list(cells), "nbformat": 4}, indent=1)


def test_a_notebook_tells_cell_and_part() -> None:
    text = notebook(
        {"cell_type": "markdown", "source": ["# x"], "metadata": {}},
        {"cell_type": "code", "outputs": [{"text": ["k = @@\n"]}], "source": ["print(k)"]},
    )
    found = context("/r/a.ipynb", text)
    assert (found.kind, found.detail, found.name) == (K.NOTEBOOK_OUTPUT, "cell 2", "k")
    text = notebook({"cell_type": "code", "outputs": [], "source": ['os.environ["K_KEY"] = "@@"']})
    found = context("/r/a.ipynb", text)
    assert (found.kind, found.detail, found.name) == (K.NOTEBOOK_SOURCE, "cell 1", "K_KEY")


def test_half_a_notebook_is_understood_and_said_to_be_damaged() -> None:
    text = notebook({"cell_type": "code", "outputs": [], "source": ['key = "@@"', "more"]})
    half = text[: text.index("more")].replace("@@", VALUE).encode()
    source = source_of("/r/a.ipynb", half)
    document = Document(half, "/r/a.ipynb")
    assert source.context(document, half.index(VALUE.encode())).detail == "cell 1"
    assert source.damage(document)
    assert not source.damage(Document(text.encode(), "/r/a.ipynb"))
    assert not source.damage(Document(half, "/r/a.ipynb", whole=False))
