"""Running git on a repository that nobody vouches for.

Protects: nothing that a repository brings along is executed. Hooks, file-system monitors, pagers,
    external diffs, text converters, filters, signature checkers, credential helpers and transports
    are switched off on the command line, which goes before a repository's own configuration, and
    no command is used that would convert content. Nothing is fetched: a partial clone stays as it
    is. The environment is made from nothing.
Does not protect: against a defect in git's own reading of objects.
Limits: the user's own git configuration is read as always; it is theirs.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

_TAKEN_OVER: Final = ("HOME", "XDG_CONFIG_HOME", "PATH", "TMPDIR")
_FIXED: Final = {
    "LC_ALL": "C",
    "GIT_ALLOW_PROTOCOL": "none",  # beats any protocol.*.allow of the repository
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "true",
    "GIT_NO_REPLACE_OBJECTS": "1",  # what was replaced is still there to be found
}
_OVERRIDES: Final = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.pager=cat",
    "core.sshCommand=false",
    "core.askPass=true",
    "core.editor=false",
    "core.alternateRefsCommand=false",
    "core.quotePath=false",
    "credential.helper=",
    "diff.external=",
    "gpg.program=false",
    "gpg.ssh.program=false",
    "gpg.x509.program=false",
    "log.showSignature=false",
    "protocol.allow=never",
    # Containers often read what another user checked out. Nothing of the repository is executed,
    # which is what this guard of git is for.
    "safe.directory=*",
)
_MAXIMUM_OUTPUT: Final = 256 * 1024 * 1024
_SECONDS: Final = 120.0


class GitFailed(Exception):
    """Git ended with an error. ``reason`` is the first line it said, without paths of ours."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Git:
    """The git program, and the surroundings in which it runs."""

    def __init__(self, executable: str, environment: Mapping[str, str]) -> None:
        """Use ``find_git``."""
        self._executable = executable
        taken = {name: environment[name] for name in _TAKEN_OVER if name in environment}
        self._environment = {**taken, **_FIXED}

    def arguments(self, directory: Path, *arguments: str) -> list[str]:
        """The whole command line; ``directory`` is a git directory, or one with a ``.git``."""
        overrides = [part for item in _OVERRIDES for part in ("-c", item)]
        place = ["--git-dir", str(directory)]
        return [self._executable, "--no-pager", *overrides, *place, *arguments]

    def user_setting(self, name: str) -> str:
        """A path in the user's own configuration, or nothing."""
        result = subprocess.run(  # noqa: S603 - git, with arguments of ours
            [self._executable, "config", "--global", "--type=path", "--get", name],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd="/",
            timeout=_SECONDS,
            check=False,
        )
        return os.fsdecode(result.stdout).strip() if result.returncode == 0 else ""

    @contextlib.contextmanager
    def piped(
        self,
        directory: Path,
        *arguments: str,
        stdin: int | IO[bytes] | None = None,
        input_wanted: bool = False,
    ) -> Iterator[subprocess.Popen[bytes]]:
        """Run git with its output in a pipe. It is ended when the block is left."""
        process = subprocess.Popen(  # noqa: S603 - git, with arguments of ours
            self.arguments(directory, *arguments),
            env=self._environment,
            stdin=subprocess.PIPE if input_wanted else (stdin or subprocess.DEVNULL),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd="/",
            # Ctrl-C is for the scan to handle, which then ends this.
            start_new_session=True,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
            process.wait()

    def output(self, directory: Path, *arguments: str, data: bytes | None = None) -> bytes:
        """All that git prints. Raises ``GitFailed``."""
        try:
            result = subprocess.run(  # noqa: S603 - git, with arguments of ours
                self.arguments(directory, *arguments),
                env=self._environment,
                input=data if data is not None else b"",
                capture_output=True,
                cwd="/",
                timeout=_SECONDS,
                check=False,
                start_new_session=True,
            )
        except subprocess.TimeoutExpired:
            raise GitFailed(f"git did not end within {_SECONDS:g} seconds") from None
        except OSError as error:
            raise GitFailed(f"git could not be started: {error.strerror}") from None
        if result.returncode != 0:
            raise GitFailed(first_line(result.stderr))
        if len(result.stdout) > _MAXIMUM_OUTPUT:
            raise GitFailed("git printed more than is read")
        return result.stdout


def find_git(environment: Mapping[str, str]) -> Git | None:
    """The git program on this machine, if there is one."""
    executable = shutil.which("git", path=environment.get("PATH"))
    return Git(executable, environment) if executable else None


def first_line(stderr: bytes) -> str:
    """What git said first; cleaned, because it may quote the repository."""
    lines: Sequence[str] = stderr.decode(errors="replace").strip().splitlines()
    text = lines[0] if lines else "git ended with an error and said nothing"
    return "".join(c if c.isprintable() else "?" for c in text)[:200]


def git_directory(path: Path) -> Path | None:
    """The git directory of a folder: its ``.git``, where a ``.git`` file points, or itself."""
    candidate = path / ".git"
    try:
        if candidate.is_dir():
            return candidate.absolute()
        if candidate.is_file():
            with candidate.open("rb") as file:
                text = file.read(4096).decode(errors="surrogateescape")
            if text.startswith("gitdir:"):
                target = path / text.removeprefix("gitdir:").strip()
                return target.absolute() if target.is_dir() else None
        if is_bare(path):
            return path.absolute()
    except (OSError, ValueError):
        return None
    return None


def is_bare(path: Path) -> bool:
    """Whether a folder is itself a git directory."""
    return (path / "HEAD").is_file() and (path / "objects").is_dir() and (path / "refs").is_dir()
