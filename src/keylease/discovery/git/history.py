"""The history of a repository: every object of all references, each once, and where it was.

Objects that were looked at in an earlier scan are not looked at again: the state holds what the
references pointed at then, and the objects in which something was found, which are looked at every
time so that each report is whole.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from typing import IO, Final, NamedTuple

from keylease.discovery.git.command import Git, first_line
from keylease.discovery.git.objects import GitObject
from keylease.discovery.git.repository import Repository
from keylease.discovery.problems import Problems

LARGEST_OBJECT: Final = 256 * 1024 * 1024
"""Bytes; larger ones are reported and not read."""
_OF_INTEREST: Final = (b"blob", b"commit", b"tag")
_COMMIT: Final = b"\x01"
_FORMAT: Final = "--format=%x01%H%x00%ct%x00%an <%ae>"
_MICROSECONDS: Final = 1_000_000


class Change(NamedTuple):
    """A commit that put an object into a path, or took it out of one."""

    commit: str
    at: int
    """UTC microseconds, as the commit says."""
    author: str
    path: bytes
    before: tuple[str, ...]
    after: str


def objects(
    git: Git,
    repository: Repository,
    problems: Problems,
    *,
    without: Sequence[str] = (),
) -> Iterator[GitObject]:
    """Every object that the references reach and ``without`` does not, with one path of it."""
    place = str(repository.directory)
    arguments = ["rev-list", "--objects", "--missing=print", "--all", "--stdin"]
    excluded = "".join(f"^{oid}\n" for oid in without)
    with git.piped(repository.directory, *arguments, input_wanted=True) as walking:
        _give(walking.stdin, f"{excluded}HEAD\n" if _has_head(git, repository) else excluded)
        with git.piped(
            repository.directory,
            "cat-file",
            "--batch-check=%(objecttype) %(objectname) %(objectsize) %(rest)",
            stdin=walking.stdout,
        ) as checking:
            yield from _listed(checking.stdout, place, problems)
        error = walking.stderr.read() if walking.stderr else b""
        if walking.wait() != 0:
            problems.add("git_history", place, f"Its history is incomplete: {first_line(error)}.")
            yield from _loose(git, repository, problems)


def _listed(stream: IO[bytes] | None, place: str, problems: Problems) -> Iterator[GitObject]:
    missing = 0
    for line in stream or ():
        fields = line.rstrip(b"\n").split(b" ", 3)
        if fields[-1] == b"missing" or fields[0].startswith(b"?"):
            missing += 1
            continue
        if fields[0] not in _OF_INTEREST:
            continue
        kind, oid, size = fields[0].decode(), fields[1].decode(), int(fields[2])
        if size > LARGEST_OBJECT:
            problems.add("git_object", f"{place}: {kind} {oid}", "It is larger than is read.")
            continue
        yield GitObject(oid, kind, fields[3] if len(fields) > 3 and kind == "blob" else b"")  # noqa: PLR2004 - type, name, size, path
    if missing:
        problems.add(
            "git_partial",
            place,
            "It is a partial clone, or damaged: objects that are not here were not read.",
            count=missing,
        )


def _loose(git: Git, repository: Repository, problems: Problems) -> Iterator[GitObject]:
    """Every object there is, when they cannot be reached one from the other."""
    with git.piped(
        repository.directory,
        "cat-file",
        "--batch-all-objects",
        "--batch-check=%(objecttype) %(objectname) %(objectsize) ",
    ) as checking:
        yield from _listed(checking.stdout, str(repository.directory), problems)


def changes(
    git: Git, repository: Repository, problems: Problems, *, of: Container[str]
) -> Iterator[Change]:
    """The commits that put one of these objects somewhere, or took it away, newest first."""
    arguments = [
        "log", "--all", "-c", "--raw", "-z", "--no-abbrev", "--no-renames", "--root",
        "--no-ext-diff", "--no-textconv", "--no-show-signature", "--no-notes", "--no-mailmap",
        _FORMAT,
    ]  # fmt: skip
    if _has_head(git, repository):
        arguments.append("HEAD")
    with git.piped(repository.directory, *arguments) as process:
        yield from _changes(process.stdout, of)
        error = process.stderr.read() if process.stderr else b""
        if process.wait() != 0:
            problems.add(
                "git_history",
                str(repository.directory),
                f"Its commits cannot all be read: {first_line(error)}.",
            )


def _changes(stream: IO[bytes] | None, of: Container[str]) -> Iterator[Change]:
    commit, at, author = "", 0, ""
    fields = _fields(stream)
    for field in fields:
        mark = field.find(_COMMIT)
        if mark >= 0:
            commit = field[mark + 1 :].decode()
            at = int(next(fields, b"0")) * _MICROSECONDS
            author = next(fields, b"").decode(errors="replace").strip()
            continue
        raw = field.lstrip(b"\n")
        if not raw.startswith(b":"):
            continue
        path = next(fields, b"")
        parents = len(raw) - len(raw.lstrip(b":"))
        parts = raw.split()
        oids = [part.decode() for part in parts[parents + 1 : 2 * parents + 2]]
        if len(oids) == parents + 1 and any(oid in of for oid in oids):
            yield Change(commit, at, author, path, tuple(oids[:-1]), oids[-1])


def _fields(stream: IO[bytes] | None) -> Iterator[bytes]:
    rest = b""
    while stream is not None and (part := stream.read(1 << 16)):
        *whole, rest = (rest + part).split(b"\0")
        yield from whole
    if rest:
        yield rest


def _has_head(git: Git, repository: Repository) -> bool:
    with git.piped(
        repository.directory, "rev-parse", "--verify", "--quiet", "HEAD^{commit}"
    ) as process:
        process.communicate()
        return process.returncode == 0


def _give(stream: IO[bytes] | None, text: str) -> None:
    if stream is not None:
        try:
            stream.write(text.encode())
            stream.close()
        except OSError:
            pass  # git has ended; its exit status is looked at
