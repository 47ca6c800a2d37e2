"""Names without values: who says that a secret is kept elsewhere, and how."""

from __future__ import annotations

import pytest

from keylease.discovery.document import Document
from keylease.discovery.sources import source_of


def mentions(path: str, content: str) -> list[tuple[str, str, str, str]]:
    data = content.encode()
    document = Document(data, path)
    return [
        (one.name, one.reason, one.environment, one.detail)
        for one in source_of(path, data).mentions(document)
    ]


def practices(path: str, content: str) -> list[str]:
    data = content.encode()
    return [one.name for one in source_of(path, data).practices(Document(data, path))]


WORKFLOW = """\
on: push
permissions:
  id-token: write
jobs:
  test:
    env:
      KEY: ${{ secrets.OPENAI_API_KEY }}
      TOKEN: ${{ secrets.GITHUB_TOKEN }}
    steps:
      - run: echo ${{ secrets.OPENAI_API_KEY }} ${{ secrets['PYPI_TOKEN'] }}
  deploy:
    environment: production
    steps:
      - run: x
        with: {key: "${{ secrets.OPENAI_API_KEY }}"}
"""


def test_github_actions() -> None:
    path = "/r/.github/workflows/ci.yml"
    reason = "GitHub Actions secret"
    assert mentions(path, WORKFLOW) == [
        ("OPENAI_API_KEY", reason, "test", "job test"),
        ("PYPI_TOKEN", reason, "test", "job test"),
        ("OPENAI_API_KEY", reason, "production", "job deploy"),
    ]
    assert practices(path, WORKFLOW) == ["GitHub Actions OIDC"]
    assert practices(path, WORKFLOW.replace("write", "read")) == []


def test_other_pipelines() -> None:
    gitlab = (
        "variables:\n  A: 1\neval:\n  id_tokens:\n    X: {aud: y}\n  script: run $OPENAI_API_KEY"
    )
    assert mentions("/r/.gitlab-ci.yml", gitlab) == [
        ("OPENAI_API_KEY", "GitLab CI variable", "", "job eval")
    ]
    assert practices("/r/.gitlab-ci.yml", gitlab) == ["GitLab CI OIDC"]
    circle = "jobs:\n  qa:\n    steps:\n      - run: x ${ANTHROPIC_API_KEY} $CIRCLE_OIDC_TOKEN\n"
    assert mentions("/r/.circleci/config.yml", circle) == [
        ("ANTHROPIC_API_KEY", "CircleCI variable", "test", "job qa")
    ]
    assert practices("/r/.circleci/config.yml", circle) == ["CircleCI OIDC"]
    azure = "steps:\n- script: x $(OPENAI_API_KEY) $(Build.Id)\n  addSpnToEnvironment: true\n"
    assert [m[0] for m in mentions("/r/azure-pipelines.yml", azure)] == ["OPENAI_API_KEY"]
    assert practices("/r/azure-pipelines.yml", azure) == ["Azure workload identity federation"]


KUBERNETES = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: api
  namespace: staging
spec:
  template:
    spec:
      containers:
      - name: c
        env:
        - name: OPENAI_API_KEY
          valueFrom:
            secretKeyRef:
              name: ai
              key: openai
        - name: DATABASE_URL
          valueFrom:
            secretKeyRef:
              name: db
              key: url
"""


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("/r/.env", 'OPENAI_API_KEY=\nPORT=\nHF_TOKEN=""\nGROQ_API_KEY=op://v/groq/key\nX=1\n',
         [("OPENAI_API_KEY", "name without a value"), ("HF_TOKEN", "name without a value"),
          ("GROQ_API_KEY", "reference")]),
        ("/r/d.yaml", KUBERNETES, [("OPENAI_API_KEY", "secretKeyRef ai/openai")]),
        ("/r/e.yaml", ("apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nspec:\n  data:\n"
         "  - secretKey: OPENAI_API_KEY\n    remoteRef:\n      key: ai/openai\n"),
         [("OPENAI_API_KEY", "external secret ai/openai")]),
        ("/r/Dockerfile", ("FROM x\nARG OPENAI_API_KEY\nARG VERSION\n"
         "RUN --mount=type=secret,id=hf_token pip install x\n"),
         [("OPENAI_API_KEY", "build argument"), ("hf_token", "build secret")]),
        ("/r/compose.yaml", ("services:\n  api:\n    environment:\n      - OPENAI_API_KEY\n"
         "      - PORT=1\n      HF_TOKEN: ${HF_TOKEN:?missing}\n"),
         [("OPENAI_API_KEY", "passed on by compose"), ("HF_TOKEN", "passed on by compose")]),
        ("/r/v.tf", 'variable "openai_api_key" {\n  type = string\n}\nvariable "region" {\n}\n',
         [("openai_api_key", "Terraform variable")]),
        ("/r/vercel.json", '{"env": {"OPENAI_API_KEY": "@openai-key"}}',
         [("OPENAI_API_KEY", "Vercel secret")]),
        ("/r/wrangler.jsonc", '{"secrets_store_secrets": [{"binding": "OPENAI_API_KEY"}]}',
         [("OPENAI_API_KEY", "Cloudflare binding")]),
        ("/etc/systemd/system/a.service",
         "[Service]\nLoadCredential=openai_api_key:/etc/k\nPassEnvironment=HF_TOKEN LANG\n",
         [("openai_api_key", "systemd credential"), ("HF_TOKEN", "passed on by systemd")]),
        ("/r/.vscode/mcp.json", ('{"servers": {"a": {"command": "x", "env": '
         '{"K": "${input:openai-api-key}", "P": "${workspaceFolder}"}}}}'),
         [("openai-api-key", "editor variable")]),
        ("/h/.npmrc", "//npm.example.org/:_authToken=${NPM_TOKEN}",
         [("NPM_TOKEN", "package manager variable")]),
        ("/r/a.py", ('import os\na = os.environ["OPENAI_API_KEY"]\nb = os.getenv("PORT_KEY")\n'
         'c = os.environ.get("HF_TOKEN")\n'),
         [("OPENAI_API_KEY", "read by a program"), ("HF_TOKEN", "read by a program")]),
        ("/r/a.ts", "const a = process.env.OPENAI_API_KEY ?? import.meta.env.GROQ_API_KEY",
         [("OPENAI_API_KEY", "read by a program"), ("GROQ_API_KEY", "read by a program")]),
        ("/r/a.go", 'key := os.Getenv("ANTHROPIC_API_KEY")',
         [("ANTHROPIC_API_KEY", "read by a program")]),
        ("/r/a.rs", 'let k = std::env::var("OPENAI_API_KEY");',
         [("OPENAI_API_KEY", "read by a program")]),
        ("/r/x.sh", 'curl -H "Authorization: Bearer $OPENAI_API_KEY"',
         [("OPENAI_API_KEY", "read by a program")]),
        ("/r/site-packages/openai/a.py", 'os.environ["OPENAI_API_KEY"]', []),
        ("/r/notes.txt", "set OPENAI_API_KEY", []),
    ],
)  # fmt: skip
def test_names_are_found_where_values_are_not(
    path: str, content: str, expected: list[tuple[str, str]]
) -> None:
    assert [found[:2] for found in mentions(path, content)] == expected


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (KUBERNETES, "ai/openai"),
        (
            (
                "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: c\n    envFrom:\n"
                "    - secretRef:\n        name: openai-key\n"
            ),
            "openai-key",
        ),
        (
            (
                "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nspec:\n  data:\n"
                "  - secretKey: OPENAI_API_KEY\n    remoteRef:\n      key: ai/openai\n"
            ),
            "",
        ),
    ],
)
def test_a_workload_says_which_secret_of_kubernetes_it_takes(content: str, wanted: str) -> None:
    data = content.encode()
    (found,) = source_of("/r/d.yaml", data).mentions(Document(data, "/r/d.yaml"))
    assert found.refers_to == wanted
