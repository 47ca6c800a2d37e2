"""The places of a machine where keys lie, beyond the folder one works in."""

from __future__ import annotations

import pwd
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

_FILES: Final = (
    ".ai21", ".aider.conf.yml", ".anthropic", ".azure", ".bash_aliases", ".bash_history",
    ".bash_login", ".bash_profile", ".bashrc", ".boto", ".cargo/credentials",
    ".cargo/credentials.toml", ".claude.json", ".cohere", ".composer/auth.json", ".condarc",
    ".databrickscfg", ".dockercfg", ".env", ".envrc", ".gem/credentials", ".git-credentials",
    ".gitconfig", ".gradle/gradle.properties", ".histfile", ".ipython_history", ".irb_history",
    ".kaggle/kaggle.json", ".kshrc", ".m2/settings.xml", ".modal.toml", ".mysql_history",
    ".netrc", ".node_repl_history", ".npmrc", ".pam_environment", ".pgpass", ".profile",
    ".psql_history", ".pypirc", ".python_history", ".Renviron", ".s3cfg", ".sh_history",
    ".terraform.d/credentials.tfrc.json", ".terraformrc", ".vault-token", ".xprofile", ".yarnrc",
    ".yarnrc.yml", ".zhistory", ".zlogin", ".zprofile", ".zsh_history", ".zshenv", ".zshrc",
    ".cache/huggingface/token", ".cache/huggingface/stored_tokens", ".huggingface/token",
    ".cursor/mcp.json",
    ".cursor/argv.json",
    ".vscode/argv.json",
    ".vscode/mcp.json",
    ".local/share/fish/fish_history", ".local/share/powershell/PSReadLine/ConsoleHost_history.txt",
)  # fmt: skip
_FOLDERS: Final = (
    ".aws", ".claude", ".codex", ".config/Code/User", ".config/Cursor/User", ".config/Claude",
    ".config/anthropic", ".config/cohere", ".config/configstore", ".config/doctl",
    ".config/environment.d", ".config/fish", ".config/flyctl", ".config/gcloud", ".config/gh",
    ".config/github-copilot", ".config/glab-cli", ".config/hub", ".config/langsmith",
    ".config/litellm", ".config/mcp", ".config/openai", ".config/opencode", ".config/pip",
    ".config/pypoetry", ".config/rclone", ".config/replicate", ".config/stripe",
    ".config/systemd/user", ".config/uv", ".config/zed", ".continue", ".docker",
    ".fly", ".gemini", ".groq", ".ipython/profile_default", ".jupyter", ".kube", ".langfuse",
    ".litellm", ".mistral", ".oci", ".ollama", ".openai", ".replicate", ".snowflake", ".snowsql",
    ".together", ".wandb", ".windsurf",
    "Library/Application Support/Claude", "Library/Application Support/Code/User",
    "Library/Application Support/Cursor/User",
)  # fmt: skip
_OF_THE_SYSTEM: Final = (
    "/etc/environment", "/etc/crontab", "/etc/cron.d", "/etc/cron.daily", "/etc/cron.hourly",
    "/etc/cron.weekly", "/etc/cron.monthly", "/etc/systemd/system", "/etc/profile.d",
    "/etc/default",
)  # fmt: skip
_SPOOLS: Final = ("/var/spool/cron/crontabs", "/var/spool/cron/tabs", "/var/spool/cron")
_NAMED_BY: Final = {
    "AWS_CONFIG_FILE": "",
    "AWS_SHARED_CREDENTIALS_FILE": "",
    "AZURE_CONFIG_DIR": "",
    "CLOUDSDK_CONFIG": "",
    "DOCKER_CONFIG": "",
    "GOOGLE_APPLICATION_CREDENTIALS": "",
    "HF_TOKEN_PATH": "",
    "HISTFILE": "",
    "KUBECONFIG": ":",
    "NETRC": "",
    "NPM_CONFIG_USERCONFIG": "",
    "PIP_CONFIG_FILE": "",
}
"""Variables that say where such a file lies, and what separates several."""


def places(home: Path, environment: Mapping[str, str], *, user: int) -> Iterator[Path]:
    """Files and folders of the user and of the system that are there."""
    wanted = [home / name for name in (*_FILES, *_FOLDERS)]
    wanted += [Path(name) for name in _OF_THE_SYSTEM]
    wanted += _crontabs(user)
    for variable, separator in _NAMED_BY.items():
        value = environment.get(variable, "")
        for part in value.split(separator) if separator else [value]:
            if part.startswith("/"):
                wanted.append(Path(part))
    seen: set[Path] = set()
    for path in wanted:
        try:
            if path not in seen and path.exists():
                seen.add(path)
                yield path
        except OSError:
            continue  # a folder on the way that is not ours; nothing of ours lies in it


def _crontabs(user: int) -> list[Path]:
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        return []
    return [Path(spool) / name for spool in _SPOOLS]
