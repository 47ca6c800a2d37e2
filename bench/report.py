"""Tables as text and as Markdown, and the section of docs/reference/performance.md they go into."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

BEGIN = "<!-- measured: begin -->"
END = "<!-- measured: end -->"
ABSENT = "-"


def number(value: float | None, digits: int = 2) -> str:
    if value is None:
        return ABSENT
    if digits == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}f}"


class Table:
    """One table with a title and notes below it."""

    def __init__(self, title: str, columns: Sequence[str]) -> None:
        self.title = title
        self.columns = list(columns)
        self.rows: list[list[str]] = []
        self.notes: list[str] = []

    def add(self, *cells: str) -> None:
        self.rows.append(list(cells))

    def text(self) -> str:
        lines = [self.columns, *self.rows]
        widths = [max(len(line[at]) for line in lines) for at in range(len(self.columns))]
        drawn = [
            "  ".join(
                cell.ljust(width) if at == 0 else cell.rjust(width)
                for at, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in lines
        ]
        drawn.insert(1, "-" * len(drawn[0]))
        return "\n".join([self.title, *drawn, *(f"  {note}" for note in self.notes)])

    def markdown(self) -> str:
        lines = [f"### {self.title}", "", "| " + " | ".join(self.columns) + " |"]
        lines.append("|---|" + "---:|" * (len(self.columns) - 1))
        lines += ["| " + " | ".join(row) + " |" for row in self.rows]
        lines += [""] + [f"- {note}" for note in self.notes] + ([""] if self.notes else [])
        return "\n".join(lines)


def machine() -> list[str]:
    """What was measured on."""
    cpu = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        "unknown",
    )
    cores = Path("/proc/cpuinfo").read_text().count("processor\t:")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) / 1024 / 1024
    load = Path("/proc/loadavg").read_text().split()[0]
    return [
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        f"{cpu}, {cores} cores, {memory:.0f} GiB, load before {load}",
        f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    ]


def write_section(path: Path, content: str, *, begin: str = BEGIN, end: str = END) -> None:
    """Put ``content`` between the markers; the rest of the page stays. Adds them when missing."""
    text = path.read_text() if path.exists() else "# Performance\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n{begin}\n{end}\n"
    head, _, rest = text.partition(begin)
    tail = rest.partition(end)[2]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{head}{begin}\n{content.strip()}\n{end}{tail}")
