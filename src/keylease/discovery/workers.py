"""Processes that share the work of a scan.

Reading and matching small files is mostly work of the interpreter, so processes are used and not
threads. They are forked from one that has loaded its detectors already. A process that dies costs
the file it died of, which is reported, and nothing else.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice
from multiprocessing import connection
from typing import Final

import msgspec

from keylease.discovery.problems import Problems
from keylease.discovery.sightings import Tally, Yield
from keylease.discovery.work import Bench, Equipment, Job, single_jobs, size, subject

_AHEAD: Final = 2
"""Jobs that a process has: one at work, one waiting, so that it never idles."""
_ALONE: Final = 2
"""With fewer jobs no processes are started."""
_DRAIN_SECONDS: Final = 5.0
_DECODER: Final = msgspec.msgpack.Decoder(Yield)
_JOB_DECODER: Final = msgspec.msgpack.Decoder(Job)
_ENCODER: Final = msgspec.msgpack.Encoder()


def work_through(jobs: Iterable[Job], equipment: Equipment, *, processes: int) -> Iterator[Yield]:
    """Do all jobs and give what each gave, in any order.

    On Ctrl-C nothing new is begun; what is being done is waited for a moment and given, then
    ``KeyboardInterrupt`` goes on.
    """
    remaining = iter(jobs)
    first = list(islice(remaining, _ALONE))
    if processes < 2 or len(first) < _ALONE:  # noqa: PLR2004 - one process is this one
        bench = Bench(equipment)
        try:
            for job in chain(first, remaining):
                yield bench.do(job)
        finally:
            bench.close()
        return
    with contextlib.closing(_Crew(equipment, processes)) as crew:
        yield from crew.work(chain(first, remaining))


class _Member:
    """A process, the pipe to it, and what it has been given and has not answered."""

    def __init__(self, equipment: Equipment, others: Iterable[_Member]) -> None:
        context = multiprocessing.get_context("fork")
        ours, theirs = context.Pipe()
        self.pipe: connection.Connection = ours
        self.given: deque[Job] = deque()
        inherited = [other.pipe for other in others]
        self.process = context.Process(
            target=_serve, args=(theirs, [*inherited, ours], equipment), daemon=True
        )
        self.process.start()
        theirs.close()

    def give(self, job: Job) -> None:
        self.given.append(job)
        # A dead process shows when its answer is read; what it was given is not lost.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.pipe.send_bytes(_ENCODER.encode(job))

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


class _Crew:
    def __init__(self, equipment: Equipment, processes: int) -> None:
        self._equipment = equipment
        self._members: list[_Member] = []
        for _ in range(processes):
            self._members.append(_Member(equipment, self._members))
        self._again: deque[Job] = deque()

    def work(self, jobs: Iterator[Job]) -> Iterator[Yield]:
        exhausted = False
        try:
            while True:
                for member in self._members:
                    while len(member.given) < _AHEAD and not (exhausted and not self._again):
                        job = self._again.popleft() if self._again else next(jobs, None)
                        if job is None:
                            exhausted = True
                            break
                        member.give(job)
                if not any(member.given for member in self._members):
                    return
                yield from self._answers(None)
        except KeyboardInterrupt:
            yield from self._drain()
            raise

    def _answers(self, timeout: float | None) -> Iterator[Yield]:
        """What has been done; waits until there is something."""
        busy = {member.pipe: member for member in self._members if member.given}
        for ready in connection.wait(list(busy), timeout):
            member = busy[ready]  # type: ignore[index]  # wait gives what it was given
            try:
                answer = _DECODER.decode(member.pipe.recv_bytes())
            except (EOFError, OSError):
                yield from self._replace(member)
            else:
                member.given.popleft()
                yield answer

    def _replace(self, member: _Member) -> Iterator[Yield]:
        """A process died. Its first job is done again in single steps; one step is given up."""
        member.end()
        self._members.remove(member)
        self._members.append(_Member(self._equipment, self._members))
        at_work, *waiting = member.given
        if size(at_work) == 1:
            problems = Problems()
            problems.add("process_died", subject(at_work), "Looking at it ended the process.")
            yield Yield([], [], problems.take(), Tally())
        else:
            self._again.extend(single_jobs(at_work))
        self._again.extend(waiting)

    def _drain(self) -> Iterator[Yield]:
        for member in self._members:
            while len(member.given) > 1:
                member.given.pop()
        while any(member.given for member in self._members):
            answers = list(self._answers(_DRAIN_SECONDS))
            if not answers:
                return
            yield from answers

    def close(self) -> None:
        for member in self._members:
            member.end()


def _serve(
    pipe: connection.Connection,
    inherited: list[connection.Connection],
    equipment: Equipment,
) -> None:
    """A process's life: jobs come in, what they gave goes out, until the pipe is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process decides what Ctrl-C means
    for other in inherited:
        other.close()
    bench = Bench(equipment)
    try:
        while True:
            job = _JOB_DECODER.decode(pipe.recv_bytes())
            pipe.send_bytes(_ENCODER.encode(bench.do(job)))
    except (EOFError, OSError):
        bench.close()
    finally:
        os._exit(0)  # nothing of the first process is to be flushed or cleaned up here
