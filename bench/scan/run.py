"""Compare what is found with gitleaks, betterleaks, Kingfisher and detect-secrets.

    python bench/scan/run.py [--seed N] [--rounds N] [--tree DIRECTORY ...] [--write]

The corpus is made anew in a temporary folder. ``--tree`` also scans real directories and lists
every find above low confidence. ``--write`` renews the tables of the page in docs/reference. A
scanner that is not installed is "not measured": ``python bench/scan/rivals.py install``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

import corpus
import finds
import keylease_scanner
import rivals

sys.path.append(str(Path(__file__).parents[1]))

from report import BEGIN, END, Table

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "scan-performance.md"
GOAL = 0.97


def percent(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "-"


def row(name: str, judged: dict[corpus.Planted, tuple[bool, bool]], seconds: float) -> list[str]:
    cells = [name]
    for held_out in (False, True):
        part = [value for item, value in judged.items() if item.held_out is held_out]
        found, attributed = (sum(value[at] for value in part) for at in (0, 1))
        cells += [percent(found, len(part)), percent(attributed, len(part))]
    return [*cells, f"{seconds:.1f}"]


def compare(planted: list[corpus.Planted], directory: Path) -> tuple[list[Table], bool]:
    total = Table(
        f"{len(planted)} planted keys",
        ("", "found", "attributed", "held out: found", "attributed", "seconds"),
    )
    judgements = {}
    scanned = keylease_scanner.scan(directory)
    judgements["keylease"] = finds.judge(planted, scanned.finds)
    total.add(*row("keylease", judgements["keylease"], scanned.seconds))
    for rival in rivals.RIVALS:
        if not rival.program.exists():
            total.add(rival.name, *["not measured"] * 5)
            continue
        with tempfile.TemporaryDirectory() as place:
            started = time.perf_counter()
            reported = rival.run(rival.program, directory, Path(place))
            seconds = time.perf_counter() - started
        judgements[rival.name] = finds.judge(planted, reported, pairs=True)
        total.add(*row(f"{rival.name} {rival.version()}", judgements[rival.name], seconds))
    total.notes.append("attributed: reported under the name of the provider that issued the key")
    total.notes.append("held out: kinds of file that were written after the detectors")
    total.notes.append("seconds: keylease without reading the files, the others with it")
    by_file = Table("By kind of file: attributed", ("", *judgements))
    by_kind = Table("By kind of key: attributed", ("", *judgements))
    for table, key in ((by_file, "file_kind"), (by_kind, "kind")):
        scores = {name: finds.scores(judged, key) for name, judged in judgements.items()}
        for part in scores["keylease"]:
            cells = (scores[name][part] for name in judgements)
            table.add(part, *(percent(score.attributed, score.planted) for score in cells))
    values = judgements["keylease"].values()
    reached = sum(attributed for _, attributed in values) >= GOAL * len(planted)
    extra = spurious(planted, scanned)
    total.notes.append(f"keylease reported {extra} keys above low confidence that were not planted")
    return [total, by_file, by_kind], reached


def spurious(planted: list[corpus.Planted], scanned: keylease_scanner.Scanned) -> int:
    """Reports above low confidence of what was not planted; a companion id is planted."""
    by_path = {item.path: item for item in planted}
    return sum(
        not finds.holds(find, by_path[find.path]) and find.rule != "aws-access-key-id"
        for find, _ in scanned.above_low
    )


def tree(directory: Path) -> Table:
    scanned = keylease_scanner.scan(directory)
    speed = scanned.size / scanned.seconds / 1e6
    table = Table(
        f"{directory.name}: {scanned.size / 1e6:,.0f} MB, {speed:,.0f} MB/s on one core, "
        f"{len(scanned.above_low)} above low confidence",
        ("place", "kind", "confidence", "why"),
    )
    for find, match in scanned.above_low:
        table.add(f"{find.path}:{find.line}", find.rule, match.confidence.value, match.reason)
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--tree", type=Path, nargs="*", default=[])
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    # Not below build/bench: some rivals leave out what lies in a folder of such a name.
    with tempfile.TemporaryDirectory(prefix="scan-corpus-") as place:
        directory = Path(place) / "corpus"
        planted = corpus.write(directory, seed=options.seed, rounds=options.rounds)
        tables, reached = compare(planted, directory)
    for table in [*tables, *(tree(directory) for directory in options.tree)]:
        print(f"\n{table.text()}", flush=True)
    print(f"\nGoal: {GOAL:.0%} found and attributed: {'reached' if reached else 'NOT reached'}")
    if options.write:
        text = PAGE.read_text()
        before, _, rest = text.partition(BEGIN)
        _, _, after = rest.partition(END)
        body = "\n\n".join(table.markdown() for table in tables)
        PAGE.write_text(f"{before}{BEGIN}\n{body}\n{END}{after}")
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
