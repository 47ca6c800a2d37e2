"""Who may own a place: CODEOWNERS, the last commit to a file, the file's owner.

Each is a candidate with its reason, not an answer.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from keylease.contracts.findings import OwnerCandidate
from keylease.discovery import ignoring
from keylease.discovery.git.command import Git
from keylease.discovery.git.repository import Repository
from keylease.primitives import files

_PLACES: Final = (".github/CODEOWNERS", ".gitlab/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS")
_MAXIMUM_BYTES: Final = 3 * 1024 * 1024
"""GitHub's own bound on the file."""
_MAXIMUM_PATHS: Final = 500
_MARK: Final = b"\x01"


class CodeOwners:
    """A CODEOWNERS file: the last line that matches a path names its owners."""

    def __init__(self, text: str) -> None:
        self._lines: list[tuple[ignoring.IgnoreRules, tuple[str, ...]]] = []
        for line in text.splitlines():
            content = line.split(" #", 1)[0].strip()
            if not content or content[0] in "#[^":
                continue  # a comment, or a section of GitLab's
            pattern, *owners = content.split()
            self._lines.append((ignoring.parse(pattern), tuple(owners)))
        self._lines.reverse()

    @classmethod
    def of(cls, folder: Path) -> CodeOwners:
        """The file of a work tree; an empty one when there is none."""
        for place in _PLACES:
            try:
                content = files.read_bounded(folder / place, maximum=_MAXIMUM_BYTES)
            except OSError:
                continue  # it is looked for in the next place
            return cls(content.decode(errors="replace"))
        return cls("")

    def owners(self, path: str) -> tuple[OwnerCandidate, ...]:
        """The owners of a path relative to the repository."""
        parts = path.split("/")
        for rules, owners in self._lines:
            for count in range(1, len(parts) + 1):
                part = "/".join(parts[:count])
                if rules.decide(part, parts[count - 1], is_directory=count < len(parts)):
                    return tuple(OwnerCandidate(owner, "CODEOWNERS") for owner in owners)
        return ()


def last_authors(git: Git, repository: Repository, paths: Iterable[str]) -> dict[str, str]:
    """Who last committed to each of these paths; not all of them when there are very many."""
    wanted = set(sorted(paths)[:_MAXIMUM_PATHS])
    if not wanted:
        return {}
    found: dict[str, str] = {}
    author = ""
    with git.piped(
        repository.directory, "--literal-pathspecs", "log", "-z", "--name-only", "--no-renames",
        "--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-notes", "--no-mailmap",
        "--format=%x01%an <%ae>", "HEAD", "--", *sorted(wanted),
    ) as process:  # fmt: skip
        rest = b""
        while process.stdout is not None and wanted and (part := process.stdout.read1(1 << 16)):  # type: ignore[attr-defined]  # a buffered pipe
            *fields, rest = (rest + part).split(b"\0")
            for field in fields:
                if _MARK in field:
                    author = field.split(_MARK, 1)[1].decode(errors="replace").strip()
                    continue
                path = os.fsdecode(field.lstrip(b"\n"))
                if path in wanted:
                    wanted.discard(path)
                    found[path] = author
    return found


def file_owner(path: str) -> str:
    """The user whose file it is, unless it is the one who runs the scan."""
    try:
        owner = os.lstat(path).st_uid
    except (OSError, ValueError):
        return ""  # it has gone, or lies in an archive
    if owner == os.geteuid():
        return ""
    try:
        return pwd.getpwuid(owner).pw_name
    except KeyError:
        return str(owner)
