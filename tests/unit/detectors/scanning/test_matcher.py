"""Both matchers find the same, in any number of threads and processes, and none at import."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading

import pytest
from tests.support.secret_templates import fill

from keylease.detectors.definitions import ALL
from keylease.detectors.scanning import Scanner, scanner
from keylease.detectors.scanning.matcher import LiteralMatcher, matcher

CASES = [(definition.kind, example) for definition in ALL for example in definition.examples]
AROUND = "import x\n{}\nclient = Mistral(\"{}\")\n$env:KEY='{}'; data: {}\n"


def found(finder: Scanner, text: str) -> list[tuple[str, str, int, int]]:
    return [(m.kind, m.provider, m.start, m.end) for m in finder.scan(text.encode())]


def without_vectorscan(monkeypatch: pytest.MonkeyPatch) -> Scanner:
    monkeypatch.setattr(scanner, "matcher", LiteralMatcher)
    return Scanner()


def test_this_environment_has_the_fast_one() -> None:
    assert matcher().name == "vectorscan"


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}: {case[1]}")
def test_the_same_is_found_without_vectorscan(
    case: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = without_vectorscan(monkeypatch)
    monkeypatch.undo()
    fast = Scanner()
    assert (plain.engine, fast.engine) == ("literals", "vectorscan")
    text = AROUND.format(*(fill(case[1], seed) for seed in range(4)))
    assert found(plain, text) == found(fast, text)
    assert found(fast, text)


@pytest.mark.no_cover
def test_scanners_in_threads_do_not_disturb_each_other() -> None:
    texts = [" ".join(fill("hf_{l:34}", n * 100 + m) for m in range(60)) for n in range(4)]
    results: dict[int, set[int]] = {}

    def search(number: int) -> None:
        finder = Scanner()
        results[number] = {len(finder.scan(texts[number].encode())) for _ in range(30)}

    threads = [threading.Thread(target=search, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {number: {60} for number in range(4)}


def _child(finder: Scanner, text: bytes, answers: multiprocessing.SimpleQueue[int]) -> None:
    answers.put(len(finder.scan(text)))


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_scanner_goes_on_in_a_forked_process() -> None:
    finder, text = Scanner(), fill("hf_{l:34}", 1).encode()
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.SimpleQueue[int] = context.SimpleQueue()
    child = context.Process(target=_child, args=(finder, text, answers))
    child.start()
    assert answers.get() == 1
    child.join()
    assert len(finder.scan(text)) == 1


@pytest.mark.parametrize("module", ["keylease.detectors", "keylease.detectors.scanning"])
def test_importing_loads_no_engine_and_compiles_nothing(module: str) -> None:
    script = f"import sys, {module}; assert 'hyperscan' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
