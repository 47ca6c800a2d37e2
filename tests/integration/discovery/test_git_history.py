"""History: each object once, the commits that brought and removed a secret, bad repositories."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

import pytest
from tests.support.planting import Repo, anthropic_key, groq_key, openai_key, plant
from tests.support.scanning import codes, look_at, only, place, surroundings

from keylease.contracts.findings import PlaceKind


def carrier(key: str) -> str:
    return f'import x\n\nclient = x.Client(api_key="{key}")\n'


def test_a_secret_that_was_removed_is_found_with_its_commits(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"README": "x"})
    key = openai_key()
    first = repo.commit({"src/a.py": carrier(key)})
    last = repo.commit({"src/a.py": carrier(key) + "more = 1\n"})
    removed = repo.commit({"src/a.py": "import os\n"})
    report = look_at(repo.folder, history=True)
    location = place(report)
    assert (location.path, location.line, location.in_history_only) == ("src/a.py", 3, True)
    assert location.first
    assert (location.first.commit, location.first.author) == (
        first,
        "Ann Example <ann@example.org>",
    )
    assert location.first.at == 1_780_007_200 * 1_000_000
    assert location.last
    assert location.last.commit == last
    assert location.removed
    assert location.removed.commit == removed
    assert [(o.owner, o.reason) for o in location.owner_candidates] == [
        ("Ann Example <ann@example.org>", "commit that brought it")
    ]


def test_a_file_and_its_history_are_one_place(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    key = openai_key()
    first = repo.commit({"a.py": carrier(key)})
    last = repo.commit({"a.py": "\n" + carrier(key)})
    location = place(look_at(repo.folder, history=True))
    assert (location.line, location.in_history_only) == (4, False)
    assert location.first
    assert location.last
    assert (location.first.commit, location.last.commit) == (first, last)


def test_renames_branches_merges_tags_stashes_and_messages_are_looked_at(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.txt": "x\n"})
    moved, branch, message, stashed, merged = (openai_key() for _ in range(5))
    repo.commit({"old.py": carrier(moved)})
    repo.commit({"old.py": None, "new.py": carrier(moved)})
    repo.git("checkout", "-q", "-b", "side")
    repo.commit({"side.py": carrier(branch)})
    repo.git("checkout", "-q", "main")
    repo.commit({"a.txt": "y\n"}, f"Oops, the key is {message}")
    repo.git("merge", "-q", "--no-commit", "side")
    plant(repo.folder, {"evil.py": carrier(merged)})
    repo.git("add", "-A")
    repo.git("commit", "-q", "-m", "merge")
    repo.git("tag", "-a", "v1", "-m", "x")
    plant(repo.folder, {"a.txt": carrier(stashed)})
    repo.git("stash")
    report = look_at(repo.folder, history=True)
    places = {
        location.path: location for finding in report.findings for location in finding.locations
    }
    assert places["old.py"].in_history_only
    assert not places["new.py"].in_history_only
    assert not places["side.py"].in_history_only
    evil = places["evil.py"]
    assert evil.first
    assert evil.first.commit == repo.git("rev-parse", "main")
    assert places["a.txt"].in_history_only
    (said,) = [p for p in places.values() if p.kind is PlaceKind.GIT_COMMIT]
    assert said.in_history_only
    assert len(report.findings) == 5


def test_the_next_scan_looks_at_what_is_new_and_reports_everything(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    for number in range(5):
        repo.commit({f"{number}.txt": f"{number}\n"})
    old = openai_key()
    repo.commit({"old.py": carrier(old)})
    repo.commit({"old.py": None})
    given = surroundings(states=tmp_path / "states")
    first = look_at(repo.folder, given=given, history=True)
    repo.commit({"new.py": carrier(groq_key())})
    repo.commit({"new.py": None})
    second = look_at(repo.folder, given=given, history=True)
    assert second.counts.git_objects < 6 < first.counts.git_objects
    assert {loc.path for f in second.findings for loc in f.locations} == {"old.py", "new.py"}
    old_place = next(f for f in second.findings if f.provider == "openai").locations[0]
    assert old_place == only(first).locations[0]

    other = look_at(repo.folder, given=given._replace(detectors="2"), history=True)
    assert other.counts.git_objects > first.counts.git_objects
    (state,) = (tmp_path / "states").iterdir()
    assert state.stat().st_mode & 0o777 == 0o600
    assert old.encode() not in state.read_bytes()
    assert b".py" not in state.read_bytes()


def test_tips_that_have_gone_are_no_trouble(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": carrier(openai_key())})
    given = surroundings(states=tmp_path / "states")
    look_at(repo.folder, given=given, history=True)
    repo.git("checkout", "-q", "--orphan", "other")
    repo.commit({"b.py": carrier(groq_key())})
    repo.git("branch", "-q", "-D", "main")
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "-q", "--prune=now")
    report = look_at(repo.folder, given=given, history=True)
    assert not report.problems
    assert {f.provider for f in report.findings} == {"openai", "groq"}


def test_shallow_and_partial_clones_are_said_to_be(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": carrier(openai_key())})
    repo.commit({"a.py": "x"})
    repo.commit({"b.py": carrier(groq_key())})
    repo.git("config", "uploadpack.allowFilter", "true")
    origin = f"file://{repo.folder}"
    repo.git("clone", "-q", "--depth", "1", origin, str(tmp_path / "shallow"))
    report = look_at(tmp_path / "shallow", history=True)
    assert list(codes(report)) == ["git_shallow"]
    assert only(report).provider == "groq"
    assert not report.complete

    repo.git("clone", "-q", "--filter=blob:none", origin, str(tmp_path / "partial"))
    before = sorted(os.listdir(tmp_path / "partial" / ".git" / "objects" / "pack"))  # noqa: PTH208 - names
    report = look_at(tmp_path / "partial", history=True)
    assert list(codes(report)) == ["git_partial"]
    (problem,) = report.problems
    assert problem.count == 1  # the blob that only the history has
    assert only(report).provider == "groq"
    assert sorted(os.listdir(tmp_path / "partial" / ".git" / "objects" / "pack")) == before  # noqa: PTH208 - as above


def loose(repo: Repo, oid: str) -> Path:
    return repo.folder / ".git" / "objects" / oid[:2] / oid[2:]


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize("damage", ["cut", "other", "empty", "gone"])
def test_a_damaged_blob_costs_itself_alone(tmp_path: Path, damage: str) -> None:
    repo = Repo(tmp_path / "r")
    for number in range(4):
        repo.commit({f"{number}.txt": f"{number}" * 5000})
    repo.commit({"k.py": carrier(openai_key())})
    victim = loose(repo, repo.git("rev-parse", "HEAD:1.txt"))
    content = victim.read_bytes()
    if damage == "gone":
        victim.unlink()
    else:
        overwrite(
            victim,
            {
                "cut": content[: len(content) // 2],
                "other": zlib.compress(b"blob 5000\0" + b"x" * 20),
                "empty": b"",
            }[damage],
        )
    report = look_at(repo.folder, history=True)
    assert only(report).locations[0].first
    assert not report.complete
    assert set(codes(report)) <= {"git_object", "git_partial", "git_history"}


@pytest.mark.parametrize("what", ["HEAD^{tree}", "HEAD"])
def test_a_damaged_tree_or_commit_leaves_what_can_still_be_read(tmp_path: Path, what: str) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": carrier(openai_key())})
    repo.commit({"a.py": "x", "b.txt": "y"})
    overwrite(loose(repo, repo.git("rev-parse", what)), b"nonsense")
    (repo.folder / "a.py").unlink()
    report = look_at(repo.folder, history=True)
    assert only(report).provider == "openai"
    assert "git_history" in codes(report)
    assert not report.complete


def test_what_is_no_repository_is_reported(tmp_path: Path) -> None:
    plant(tmp_path / "r", {".git/HEAD": "nonsense", "a.txt": "x"})
    plant(tmp_path / "r2", {".git": "gitdir: /nowhere\n", "a.txt": "x"})
    report = look_at(tmp_path / "r", tmp_path / "r2", history=True)
    assert list(codes(report)) == ["git_history"]
    assert report.counts.files == 3


def test_a_hostile_repository_runs_nothing_and_fetches_nothing(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    key = openai_key()
    repo.commit({"a.py": carrier(key), ".gitattributes": "* diff=evil filter=evil merge=evil\n"})
    marker = tmp_path / "executed"
    program = tmp_path / "evil.sh"
    program.write_text(f"#!/bin/sh\necho $0 $@ >> {marker}\ncat\n")
    program.chmod(0o755)
    hooks = tmp_path / "hooks"
    for name in ("post-index-change", "reference-transaction", "post-checkout", "pre-auto-gc"):
        plant(hooks, {name: program.read_text()})
        (hooks / name).chmod(0o755)
    for name in (
        "core.fsmonitor", "core.pager", "core.sshCommand", "core.editor", "core.askPass",
        "core.gitProxy", "core.alternateRefsCommand", "credential.helper", "diff.external",
        "diff.evil.textconv", "diff.evil.command", "filter.evil.clean", "filter.evil.smudge",
        "filter.evil.process", "gpg.program", "gpg.ssh.program", "pager.log", "pager.config",
        "alias.log", "sequence.editor", "merge.evil.driver", "uploadpack.packObjectsHook",
        "trace2.eventTarget", "interactive.diffFilter", "remote.origin.uploadpack",
    ):  # fmt: skip
        repo.git("config", name, str(program))
    repo.git("config", "core.hooksPath", str(hooks))
    repo.git("config", "log.showSignature", "true")
    repo.git("config", "remote.origin.url", f"ext::{program} %S")
    repo.git("config", "remote.origin.promisor", "true")
    repo.git("config", "remote.origin.partialclonefilter", "blob:none")
    repo.git("config", "protocol.ext.allow", "always")
    repo.git("config", "extensions.partialClone", "origin")
    plant(repo.folder, {"c.py": "x", ".gitignore": "a.py\n"})
    gone = loose(repo, repo.git("rev-parse", "HEAD:.gitattributes"))
    gone.unlink()
    marker.unlink(missing_ok=True)
    report = look_at(repo.folder, history=True)
    assert only(report).provider == "openai"
    look_at(repo.folder, staged=True)
    assert not marker.exists(), marker.read_text()


def test_another_users_repository_is_read(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("takes root to give a file away")
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": carrier(openai_key())})
    subprocess.run(["chown", "-R", "12345", str(repo.folder)], check=True)  # noqa: S607 - of the system
    report = look_at(repo.folder, history=True)
    assert not report.problems
    assert only(report).locations[0].first
    assert ("12345", "owner of the file") in [
        (o.owner, o.reason) for o in only(report).locations[0].owner_candidates
    ]


def test_without_git_the_files_are_read_and_the_history_is_said_to_be_missing(
    tmp_path: Path,
) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"a.py": carrier(openai_key())})
    report = look_at(repo.folder, given=surroundings(git=None), history=True)
    assert list(codes(report)) == ["git_missing"]
    assert place(report).path == "a.py"


def test_three_checkouts_have_the_same_locations(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit({"deep/a.py": carrier(openai_key())})
    found = []
    given = surroundings()
    for name, remote in (
        ("one", "https://user:" + anthropic_key() + "@git.example.org/team/app.git"),
        ("two", "git@git.example.org:team/app.git"),
        ("three", "ssh://git@GIT.example.org:22/team/app"),
    ):
        repo.git("clone", "-q", str(repo.folder), str(tmp_path / name))
        repo.git("-C", str(tmp_path / name), "remote", "set-url", "origin", remote)
        report = look_at(tmp_path / name, given=given._replace(host=name))
        finding = next(f for f in report.findings if f.provider == "openai")
        (location,) = finding.locations
        assert location.repository == "git.example.org/team/app"
        assert location.repository_path == "deep/a.py"
        found.append((finding.id, location.id))
    assert len(set(found)) == 1


def test_owners_come_from_codeowners_and_the_last_commit(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    repo.commit(
        {
            ".github/CODEOWNERS": "* @everyone\n/api/ @org/api # them\n*.md @docs\n",
            "api/a.py": carrier(openai_key()),
        }
    )
    location = place(look_at(repo.folder))
    assert [(o.owner, o.reason) for o in location.owner_candidates] == [
        ("@org/api", "CODEOWNERS"),
        ("Ann Example <ann@example.org>", "last commit to the file"),
    ]


def test_staged_looks_at_what_is_new_only(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    old = openai_key()
    plant(repo.folder, {"first.py": carrier(groq_key())})
    repo.git("add", "-A")
    assert place(look_at(repo.folder, staged=True)).path == "first.py"
    repo.git("rm", "-q", "--cached", "first.py")
    (repo.folder / "first.py").unlink()
    repo.commit({"a.py": carrier(old)})
    plant(repo.folder, {"a.py": "# touched\n" + carrier(old), "b.txt": carrier(anthropic_key())})
    assert not look_at(repo.folder, staged=True).findings
    repo.git("add", "-A")
    new = groq_key()
    plant(repo.folder, {"a.py": carrier(old) + f'more = "{new}"\n', "c.py": carrier(openai_key())})
    repo.git("add", "a.py")
    report = look_at(repo.folder, staged=True)
    assert {(f.provider, f.locations[0].path) for f in report.findings} == {
        ("groq", "a.py"),
        ("anthropic", "b.txt"),
    }


def workflow(*names: str) -> str:
    lines = "".join(f"          {name}: ${{{{ secrets.{name} }}}}\n" for name in names)
    return f"jobs:\n  evals:\n    steps:\n      - run: make evals\n        env:\n{lines}"


def test_names_that_a_pipeline_used_once_are_found_with_their_commits(tmp_path: Path) -> None:
    repo = Repo(tmp_path / "r")
    path = ".github/workflows/evals.yml"
    first = repo.commit(
        {path: workflow("OPENAI_API_KEY"), "run.py": 'os.environ["GROQ_API_KEY"]\n'}
    )
    repo.commit({path: workflow("OPENAI_API_KEY", "ANTHROPIC_API_KEY"), "run.py": "pass\n"})
    last = repo.commit({path: "# moved\n" + workflow("ANTHROPIC_API_KEY")})
    given = surroundings(states=tmp_path / "states")
    for _ in range(2):  # the second time from what the first one left
        report = look_at(repo.folder, given=given, history=True)
        found = {one.name: one for one in report.mentions}
        assert list(found) == ["ANTHROPIC_API_KEY", "OPENAI_API_KEY"]
        there, gone = found["ANTHROPIC_API_KEY"].location, found["OPENAI_API_KEY"].location
        assert not there.in_history_only
        assert there.line == 7
        assert there.last is not None
        assert there.last.commit == last
        assert gone.in_history_only
        assert gone.path == path
        assert gone.first is not None
        assert (gone.first.commit, gone.first.author) == (first, "Ann Example <ann@example.org>")
        assert gone.removed is not None
        assert gone.removed.commit == last
        assert ("Ann Example <ann@example.org>", "commit that brought it") in [
            (one.owner, one.reason) for one in gone.owner_candidates
        ]
    now = look_at(repo.folder)
    assert [one.name for one in now.mentions] == ["ANTHROPIC_API_KEY"]
    assert now.mentions[0].location.id == there.id
