"""Fake keys, made when they are wanted, and trees and repositories to plant them in."""

from __future__ import annotations

import secrets
import string
import subprocess
from collections.abc import Mapping
from pathlib import Path

LETTERS = "".join(c for c in string.ascii_letters + string.digits if c not in "aeouxAEOUX")
"""Without letters that chance could make "fake" or "dummy" of, which the detectors look for."""


def characters(count: int, alphabet: str = LETTERS) -> str:
    return "".join(secrets.choice(alphabet) for _ in range(count))


def openai_key() -> str:
    return "sk-" + "proj-" + characters(74) + "T3Blbk" + "FJ" + characters(74)


def anthropic_key() -> str:
    return "sk-" + "ant-" + "api03-" + characters(93) + "AA"


def groq_key() -> str:
    return "gsk" + "_" + characters(52)


def plant(folder: Path, files: Mapping[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


class Repo:
    """A git repository of a test, with dates and authors of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.clock = 1_780_000_000
        self.git("init", "-q", "-b", "main")

    def git(self, *arguments: str, stdin: bytes | None = None) -> str:
        result = subprocess.run(
            ["git", "-C", str(self.folder), *arguments],  # noqa: S607 - git of the developer
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": str(self.folder.parent),
                "GIT_AUTHOR_NAME": "Ann Example",
                "GIT_AUTHOR_EMAIL": "ann@example.org",
                "GIT_COMMITTER_NAME": "Ann Example",
                "GIT_COMMITTER_EMAIL": "ann@example.org",
                "GIT_AUTHOR_DATE": f"{self.clock} +0000",
                "GIT_COMMITTER_DATE": f"{self.clock} +0000",
                "GIT_CONFIG_NOSYSTEM": "1",
            },
            input=stdin,
            capture_output=True,
            check=True,
        )
        return result.stdout.decode().strip()

    def commit(self, files: Mapping[str, str | bytes | None], message: str = "change") -> str:
        """Write, or with None remove, and commit; gives the commit."""
        self.clock += 3600
        for name, content in files.items():
            if content is None:
                (self.folder / name).unlink()
            else:
                plant(self.folder, {name: content})
        self.git("add", "-A", "-f")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")
