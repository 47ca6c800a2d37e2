"""Names of files and directories that matter before anything is read.

The environment, configuration and credential family is read even where an ignore file leaves it
out. Directories of installed dependencies and caches are not looked into when they are ignored.
"""

from __future__ import annotations

import re
from typing import Final

DEPENDENCY_DIRECTORIES: Final = frozenset(
    {
        ".git",
        ".gradle",
        ".mypy_cache",
        ".next",
        ".nox",
        ".nuxt",
        ".parcel-cache",
        ".pytest_cache",
        ".ruff_cache",
        ".svelte-kit",
        ".tox",
        ".turbo",
        ".venv",
        ".yarn",
        "__pycache__",
        "bower_components",
        "node_modules",
        "site-packages",
        "target",
        "venv",
        "virtualenv",
    }
)
"""Skipped when ignored. They hold what was installed or built, mostly in great number."""
PSEUDO_FILE_SYSTEMS: Final = frozenset({"/proc", "/sys", "/dev"})
_FAMILY: Final = re.compile(
    r"""(?:
      \.env(?:rc|[._-].*)?          | .*\.env(?:\..*)?         | env\.(?:sh|list|local|json|ya?ml)
    | \.dev\.vars(?:\..*)?          | .*\.tfvars(?:\.json)?    | .*\.tfstate(?:\..*)?
    | \.?(?:secrets?|credentials?|creds|api[_-]?keys?|keys|tokens?|auth)(?:[._-].*)?
    | .*[._-](?:secrets?|credentials?|api[_-]?keys?|token)(?:\.[a-z0-9]{1,8})?
    | local\.settings\.json         | (?:app)?settings\.local\.(?:json|ya?ml|toml|py)
    | appsettings\..*\.json
    | (?:config|settings)[._-]?(?:local|dev|development|prod|production|staging|private)\.[a-z]{2,6}
    | local_settings\.py            | .*\.local\.(?:json|ya?ml|toml|ini|conf)
    | \.npmrc | \.yarnrc(?:\.yml)?  | \.pypirc | pip\.conf | \.netrc | _netrc | \.git-credentials
    | \.dockercfg | \.dockerconfigjson | docker-compose\.override\.ya?ml
    | service[_-]?account.*\.json   | gcp[_-].*\.json | .*[_-]sa\.json
    | application_default_credentials\.json
    | kubeconfig.*                  | .*\.kubeconfig | .*\.pem | .*\.key | .*\.p8
    | id_(?:rsa|dsa|ecdsa|ed25519)
    | values[._-].*\.ya?ml          | \.mcp\.json | mcp\.json | \.pgpass | \.boto | \.s3cfg
    | .*_history | \.Renviron | \.htpasswd | \.databrickscfg | litellm.*\.ya?ml
    | terraform\.rc | \.terraformrc
    )""",
    re.VERBOSE | re.IGNORECASE | re.DOTALL,
)
_IN_DIRECTORY: Final = re.compile(
    r"/(?:\.streamlit/secrets\.toml|\.(?:vscode|cursor|claude|gemini|codex|continue|zed|idea)/[^/]+"
    r"\.(?:json|toml|ya?ml|xml)|\.docker/config\.json|\.aws/(?:config|credentials)"
    r"|\.vercel/[^/]*|\.wrangler/.*\.(?:json|toml)|\.kube/config)\Z"
)


def holds_credentials(name: str, path: str) -> bool:
    """Whether a file is of the family that is read even when it is ignored."""
    return _FAMILY.fullmatch(name) is not None or _IN_DIRECTORY.search(path) is not None
