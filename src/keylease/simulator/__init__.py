"""Stands in for model providers, in the demo, the tests and the benchmarks.

It speaks the wire formats of OpenAI and Anthropic, answers deterministically, fails on request and
keeps the usage log a provider would keep. It never sees a real key.
"""

from keylease.simulator.failures import Failure, FailureKind
from keylease.simulator.recording import Outcome, RecordedRequest
from keylease.simulator.server import Simulator, SimulatorOptions

__all__ = [
    "Failure",
    "FailureKind",
    "Outcome",
    "RecordedRequest",
    "Simulator",
    "SimulatorOptions",
]
