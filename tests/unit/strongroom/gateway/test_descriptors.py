"""Connections and the limit on descriptors, tried in processes with limits of their own."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))
from keylease.strongroom.gateway.descriptors import connections_within_limit
print(connections_within_limit({wanted}), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "wanted", "expected"),
    [
        (256, 256, 10_000, "192 256"),
        (256, 4096, 10_000, "3072 4096"),
        (256, 4096, 300, "300 400"),
        (4096, 4096, 300, "300 4096"),
    ],
)
def test_clients_leave_room_for_the_rest(soft: int, hard: int, wanted: int, expected: str) -> None:
    program = PROGRAM.format(soft=soft, hard=hard, wanted=wanted)
    done = subprocess.run(
        [sys.executable, "-I", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == expected
