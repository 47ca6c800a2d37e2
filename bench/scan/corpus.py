"""Writes the corpus: every kind of key in every kind of file, one key a file, from a seed.

    python bench/scan/corpus.py DIRECTORY [--seed N] [--rounds N]

``truth.json`` beside the files says what was planted where. The generator knows nothing of the
detectors, and no file of the corpus is in the repository: the keys work nowhere, but look as if.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import shutil
import sys
from pathlib import Path

from files import FILES, HELD_OUT, companion
from kinds import KINDS


@dataclasses.dataclass(frozen=True)
class Planted:
    """One key in one file."""

    path: str
    kind: str
    provider: str
    file_kind: str
    value: str
    held_out: bool = False
    companion: str = ""
    """A public identifier that stands beside it."""


def write(directory: Path, *, seed: int, rounds: int) -> list[Planted]:
    """Write the corpus; what was in the directory before is removed."""
    if directory.exists():
        shutil.rmtree(directory)
    planted = []
    for turn in range(rounds):
        for kind in KINDS:
            for file_kind, (name, make) in (FILES | HELD_OUT).items():
                chance = random.Random(f"{seed} {turn} {kind.name} {file_kind}")  # noqa: S311 - fake
                value = kind.make(chance)
                beside = companion(kind, chance)
                # No directory is named after a provider: only the text may tell whose a key is.
                place = (
                    directory / f"{turn}" / f"{KINDS.index(kind):02}-{file_kind.replace(' ', '-')}"
                )
                place.mkdir(parents=True)
                (place / name).write_bytes(make(kind, value, beside))
                path = (place / name).relative_to(directory).as_posix()
                planted.append(
                    Planted(
                        path=path,
                        kind=kind.name,
                        provider=kind.provider,
                        file_kind=file_kind,
                        value=value,
                        held_out=file_kind in HELD_OUT,
                        companion=beside[1] if beside else "",
                    )
                )
    truth = [dataclasses.asdict(item) for item in planted]
    directory.with_suffix(".truth.json").write_text(json.dumps(truth))
    return planted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    planted = write(options.directory, seed=options.seed, rounds=options.rounds)
    print(f"{len(planted)} keys in {options.directory}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
