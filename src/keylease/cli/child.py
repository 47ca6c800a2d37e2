"""Run a program in the foreground as if this process were not there.

The program stays in our process group, so pipelines, job control and full-screen programs work as
the shell arranged them. What the terminal sends (Ctrl-C, Ctrl-Z, a change of size) reaches the
program by itself; what another process sends to us alone is passed on. The kernel says which of
the two a signal is (``si_code``, sigaction(2)), and where it does not (macOS), a signal that a
terminal can send is taken to come from there.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import Final

from keylease.errors import ProcessError, ProgramNotFound, ProgramNotStarted

PASSED_ON: Final = frozenset(
    {
        signal.SIGCONT,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGTSTP,
        signal.SIGUSR1,
        signal.SIGUSR2,
        signal.SIGWINCH,
    }
)
_FROM_A_TERMINAL: Final = frozenset(
    {signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGWINCH}
)
_SI_KERNEL: Final = 0x80


class Child:
    """A running program. Make it before any thread is started: it is forked."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        """Start the program; raises ``ProgramNotFound`` or ``ProgramNotStarted``."""
        # Blocked from before the fork, so that no signal falls between two chairs.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the user's own command, no shell
                list(command),
                env=dict(environment),
                preexec_fn=lambda: _restore(before),  # noqa: PLW1509 - no thread runs yet
            )
        except OSError as error:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            raise _not_started(command[0], error) from error
        self._ended = threading.Event()
        threading.Thread(target=self._pass_on, name="signals", daemon=True).start()

    def wait(self) -> int:
        """Wait for the program; gives its exit status, 128 + n for signal n. Blocks."""
        status = self._process.wait()
        self._ended.set()
        return status if status >= 0 else 128 - status

    def _pass_on(self) -> None:
        while not self._ended.is_set():
            number, by_terminal = _next_signal()
            if self._ended.is_set():
                return
            if not by_terminal:
                with contextlib.suppress(ProcessLookupError):
                    self._process.send_signal(number)
            if number == signal.SIGTSTP:
                _stop()


def _stop() -> None:
    """Stop as the signal by default does, so that the shell sees its job stopped by it.

    Not by SIGSTOP: the kernel spares a group that no shell could continue the default action only.
    """
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTSTP})
    os.kill(os.getpid(), signal.SIGTSTP)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTSTP})


def _next_signal() -> tuple[signal.Signals, bool]:
    """Wait for a signal; says whether the terminal sent it, to the whole group."""
    if hasattr(signal, "sigwaitinfo"):
        information = signal.sigwaitinfo(PASSED_ON)
        number = signal.Signals(information.si_signo)
        return number, information.si_code == _SI_KERNEL
    number = signal.Signals(signal.sigwait(PASSED_ON))
    return number, number in _FROM_A_TERMINAL


def _restore(mask: set[signal.Signals | int]) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _not_started(program: str, error: OSError) -> ProcessError:
    if isinstance(error, FileNotFoundError):
        return ProgramNotFound(
            f"There is no program {program!r}.", advice="Is it installed, and on your PATH?"
        )
    return ProgramNotStarted(f"The program {program!r} cannot be started: {error.strerror}.")
