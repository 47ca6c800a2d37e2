"""The places of a machine where keys lie, beyond the folder one works in."""

from __future__ import annotations

import pwd
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keylease.discovery.pieces import Piece

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
_SECONDS: Final = 10.0
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


def crontab(environment: Mapping[str, str], *, user: int) -> Piece | None:
    """The user's crontab as its program gives it, where its file is closed to users."""
    program = shutil.which("crontab", path=environment.get("PATH"))
    if program is None or any(_is_readable(path) for path in _crontabs(user)):
        return None  # its file is read like any other
    try:
        answer = subprocess.run(  # noqa: S603 - the system's own program
            [program, "-l"],
            env={"PATH": environment.get("PATH", ""), "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None  # there is no cron here that would run anything
    return Piece(answer.stdout, "crontab -l") if answer.stdout.strip() else None


def _is_readable(path: Path) -> bool:
    try:
        with path.open("rb"):
            return True
    except OSError:
        return False
