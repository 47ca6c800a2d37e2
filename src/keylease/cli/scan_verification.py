"""``keylease scan --verify``: found keys go over a pipe to a strongroom process that asks.

Protects: keys are in no argument, file or environment; the process that asks has the hardening and
    confinement of the strongroom, and takes from this one nothing but keys and their kinds.
Does not protect: asking tells a provider that somebody holds the key, and from which address.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import Final

import msgspec

from keylease.cli import output
from keylease.cli.strongroom_process import spawn_strongroom
from keylease.contracts.verification import Verdict
from keylease.discovery.verifying import HandOver
from keylease.errors import ScanInvalid
from keylease.settings import Settings

_OFF: Final = frozenset({"", "0", "false", "no"})
_END_SECONDS: Final = 10.0


def check_verify(*, in_ci: bool, environment: Mapping[str, str]) -> None:
    """Refuse to try keys in a pipeline that nobody told to. Raises ``ScanInvalid``."""
    if not in_ci and environment.get("CI", "").lower() not in _OFF:
        raise ScanInvalid(
            "Found keys are not tried in CI unless --verify-in-ci says so.",
            advice="A pipeline tries the keys of whoever can propose a change; add it where that "
            "is what you want.",
        )


class StrongroomVerifier:
    """A strongroom process that asks. It ends with this process, if not before."""

    def __init__(self, settings: Settings) -> None:
        """Start it. Raises ``ProcessFailed``."""
        reading, writing = os.pipe()
        self.hand_over = HandOver(writing)
        try:
            self._process = spawn_strongroom(
                ["verify", f"--gateway-file={settings.gateway_file}"],
                python=str(settings.strongroom_python),
                stdin=reading,
                stdout=subprocess.PIPE,
            )
        except BaseException:
            self.hand_over.close()
            raise
        finally:
            os.close(reading)

    def verdicts(self) -> Mapping[bytes, Verdict]:
        """What the providers say, by digest; nothing when the process fails."""
        self.hand_over.close()
        output.say("Asking providers about the keys ...")
        said, _ = self._process.communicate()
        if self._process.returncode != 0:
            output.warn("The process that asks providers failed; the keys are not verified.")
            return {}
        found = msgspec.json.decode(said, type=tuple[Verdict, ...])
        return {verdict.digest: verdict for verdict in found}

    def abandon(self) -> None:
        """End it, if it has not ended."""
        self.hand_over.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
