"""A repository as a scan sees it: where it is, what it is called, what its newest commit has."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Final, NamedTuple

from keylease.discovery.git.command import Git, GitFailed

_REMOTE: Final = re.compile(
    r"(?:(?:https?|ssh|git|file)://)?(?:[^/@\s]*@)?([^/:\s]*)(?::\d+)?[:/](.*?)(?:\.git)?/*\Z"
)
_RAW_FIELDS: Final = 5


class Repository(NamedTuple):
    """A work tree with its git directory, or a bare repository."""

    folder: Path
    """What paths in it are shown below."""
    directory: Path
    """The git directory."""

    @property
    def identity(self) -> str:
        """What a state file is called after: the place of this repository on this machine."""
        return hashlib.sha256(os.fsencode(os.path.realpath(self.directory))).hexdigest()[:32]


class StagedFile(NamedTuple):
    """A file whose staged content differs from the newest commit's."""

    path: bytes
    oid: str
    before: str
    """Its blob in the newest commit, or nothing."""


def address(git: Git, repository: Repository) -> str:
    """What tells two checkouts of one repository from others: its remote, without credentials.

    Without a remote it is the first commit; empty where there is neither.
    """
    try:
        remote = git.output(repository.directory, "config", "--get", "remote.origin.url")
        found = _REMOTE.fullmatch(os.fsdecode(remote).strip())
        if found and found[2]:
            return f"{found[1].lower()}/{found[2].strip('/')}".lstrip("/")
    except GitFailed:
        pass  # it has no remote
    try:
        roots = git.output(repository.directory, "rev-list", "--max-parents=0", "HEAD").split()
    except GitFailed:
        return ""  # nothing was committed yet
    return f"git:{roots[-1].decode()}" if roots else ""


def tips(git: Git, repository: Repository) -> list[str]:
    """The objects that all references and a detached HEAD point at."""
    listed = git.output(repository.directory, "for-each-ref", "--format=%(objectname)").split()
    found = {oid.decode() for oid in listed}
    try:
        head = git.output(repository.directory, "rev-parse", "--verify", "--quiet", "HEAD")
        found.add(head.decode().strip())
    except GitFailed:
        pass  # nothing was committed yet
    return sorted(found)


def is_shallow(git: Git, repository: Repository) -> bool:
    """Whether older commits were left out when it was cloned."""
    answer = git.output(repository.directory, "rev-parse", "--is-shallow-repository")
    return answer.strip() == b"true"


def head_files(git: Git, repository: Repository) -> dict[bytes, str]:
    """Path and blob of every file in the newest commit. Raises ``GitFailed``."""
    try:
        git.output(repository.directory, "rev-parse", "--verify", "--quiet", "HEAD")
    except GitFailed:
        return {}
    found: dict[bytes, str] = {}
    for entry in git.output(repository.directory, "ls-tree", "-r", "-z", "HEAD").split(b"\0"):
        meta, _, path = entry.partition(b"\t")
        if path:
            found[path] = meta.split()[2].decode()
    return found


def staged_files(git: Git, repository: Repository) -> list[StagedFile]:
    """What the next commit would change. Raises ``GitFailed``."""
    directory = repository.directory
    try:
        git.output(directory, "rev-parse", "--verify", "--quiet", "HEAD")
        base = "HEAD"
    except GitFailed:
        base = git.output(directory, "hash-object", "-t", "tree", "--stdin", data=b"").decode()
    raw = git.output(
        directory, "diff-index", "--cached", "--raw", "-z", "--no-abbrev", "--no-renames",
        "--no-ext-diff", "--no-textconv", "--diff-filter=d", base.strip(), "--",
    )  # fmt: skip
    fields = raw.split(b"\0")
    found = []
    for meta, path in zip(fields[::2], fields[1::2], strict=False):
        parts = meta.split()
        if len(parts) == _RAW_FIELDS and not parts[1].startswith(b"160"):
            before = parts[2].decode()
            found.append(StagedFile(path, parts[3].decode(), before if before.strip("0") else ""))
    return found
