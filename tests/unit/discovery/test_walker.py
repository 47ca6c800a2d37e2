from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
from tests.support.planting import Repo, plant
from tests.support.scanning import ENVIRONMENT

from keylease.discovery.git.command import find_git
from keylease.discovery.problems import Problems
from keylease.discovery.walker import Walker


def walked(root: Path, *, include_ignored: bool = False) -> tuple[set[str], Walker, Problems]:
    problems = Problems()
    walker = Walker(problems, git=find_git(ENVIRONMENT), include_ignored=include_ignored)
    found = {os.path.relpath(path, root) for path in walker.walk(str(root))}
    return found, walker, problems


def test_ignore_files_are_honoured_where_they_lie(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            ".gitignore": "*.log\n/build/\n!keep.log\n",
            "a.log": "", "keep.log": "", "build/x.txt": "", "sub/build/x.txt": "",
            "sub/.gitignore": "*.txt\n!only.txt\n", "sub/y.txt": "", "sub/only.txt": "",
            ".keyleaseignore": "fixtures/\n", "fixtures/k.py": "",
        },
    )  # fmt: skip
    found, walker, _ = walked(tmp_path)
    assert found == {
        ".gitignore", ".keyleaseignore", "keep.log", "sub/.gitignore", "sub/only.txt",
    }  # fmt: skip
    assert walker.ignored == 5
    assert "sub/y.txt" in walked(tmp_path, include_ignored=True)[0]


def test_ignored_files_of_the_credential_family_are_read_all_the_same(tmp_path: Path) -> None:
    plant(
        tmp_path,
        {
            ".gitignore": ".env*\n*.tfvars\nprivate/\nnode_modules/\nenv/\n",
            ".env": "", ".env.production": "", "prod.tfvars": "", "private/notes.txt": "",
            "private/deep/credentials.json": "", "node_modules/x/.env": "",
            "env/pyvenv.cfg": "", "env/lib/secrets.py": "",
        },
    )  # fmt: skip
    assert walked(tmp_path)[0] == {
        ".gitignore", ".env", ".env.production", "prod.tfvars", "private/deep/credentials.json",
    }  # fmt: skip


def test_what_git_tracks_is_read_though_it_is_ignored(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({".gitignore": "gen/\nvenv/\n", "gen/a.py": "", "venv/lib/b.py": ""})
    plant(repo.folder, {"gen/untracked.py": ""})
    found = walked(repo.folder)[0]
    assert {"gen/a.py", "venv/lib/b.py"} <= found
    assert "gen/untracked.py" not in found


def test_rules_above_the_root_count_unless_the_root_itself_was_asked_for(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    plant(repo.folder, {".gitignore": "*.log\nout/\n", "src/a.log": "", "src/a.py": "",
                        "out/b.log": "", "out/b.py": ""})  # fmt: skip
    assert walked(repo.folder / "src")[0] == {"a.py"}
    assert walked(repo.folder / "out")[0] == {"b.log", "b.py"}


def test_a_nested_repository_has_rules_of_its_own(tmp_path: Path) -> None:
    outer = Repo(tmp_path / "o")
    plant(outer.folder, {".gitignore": "*.log\n"})
    inner = Repo(outer.folder / "inner")
    plant(inner.folder, {"a.log": ""})
    (inner.folder / ".git" / "info" / "exclude").write_text("b.txt\n")
    plant(inner.folder, {"b.txt": ""})
    found = walked(outer.folder)[0]
    assert "inner/a.log" in found
    assert "inner/b.txt" not in found
    assert {".git/config", "inner/.git/config"} <= found


def test_links_are_counted_and_never_followed(tmp_path: Path) -> None:
    plant(tmp_path, {"d/a.txt": ""})
    (tmp_path / "d" / "loop").symlink_to(tmp_path)
    (tmp_path / "self").symlink_to("self")
    (tmp_path / "file").symlink_to("d/a.txt")
    found, walker, problems = walked(tmp_path)
    assert found == {"d/a.txt"}
    assert walker.links == 3
    assert not list(problems)


def test_pipes_sockets_and_devices_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert walked(tmp_path)[0] == set()
    problems = Problems()
    assert not list(Walker(problems, git=None).walk(str(tmp_path / "pipe")))
    assert [problem.code for problem in problems] == ["not_a_file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_reported_once(tmp_path: Path) -> None:
    plant(tmp_path, {"closed/a.txt": "", "open.txt": ""})
    (tmp_path / "closed").chmod(0)
    try:
        found, _, problems = walked(tmp_path)
    finally:
        (tmp_path / "closed").chmod(stat.S_IRWXU)
    assert found == {"open.txt"}
    assert [problem.code for problem in problems] == ["permission_denied"]


def test_a_folder_that_goes_meanwhile_is_no_trouble(tmp_path: Path) -> None:
    plant(tmp_path, {"a/1.txt": "", "b/2.txt": "", "c/3.txt": ""})
    problems = Problems()
    steps = Walker(problems, git=None).walk(str(tmp_path))
    assert next(steps).endswith("a/1.txt")
    (tmp_path / "b" / "2.txt").unlink()
    (tmp_path / "b").rmdir()
    assert [os.path.relpath(path, tmp_path) for path in steps] == ["c/3.txt"]
    assert [(problem.code, problem.incomplete) for problem in problems] == [("vanished", False)]


def test_a_bare_repository_is_told_from_a_folder(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a": "x"})
    repo.git("clone", "-q", "--bare", ".", str(tmp_path / "bare"))
    met: list[Path] = []
    walker = Walker(Problems(), git=None, on_repository=met.append)
    found = list(walker.walk(str(tmp_path / "bare")))
    assert found == [str(tmp_path / "bare" / "config")]
    assert met == [tmp_path / "bare"]
