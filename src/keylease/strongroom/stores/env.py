"""``env://NAME``: a secret that was in the environment of whoever started the product.

The launcher reads the named variables once and hands them over through a descriptor; the
strongroom's own environment does not hold them, so neither ``/proc/<pid>/environ`` nor a child
process does.

Protects: against other processes that read the environment of the strongroom or its children.
Does not protect: the launcher's own environment, which the operating system shows to the same user.
Limits: a value changes only when the product is started again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import ClassVar, Final

import msgspec

from keylease.contracts.references import Reference
from keylease.errors import ProcessFailed, SecretNotFound
from keylease.primitives.clock import Clock
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.versions import VersionNames

MAXIMUM_BYTES: Final = 1024 * 1024
_CHUNK: Final = 64 * 1024
_START_OVER: Final = "Stop Keylease and start it again with `keylease up`."


class EnvironmentStore:
    """Serves the mapping that ``receive`` gave at the start."""

    scheme: ClassVar[str] = "env"

    def __init__(
        self, environment: Mapping[str, Secret], *, clock: Clock, versions: VersionNames
    ) -> None:
        self._environment = dict(environment)
        self._clock = clock
        self._versions = versions

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Give the value that was handed over. Each caller gets a copy that it may wipe."""
        held = self._environment.get(reference.path)
        if held is None or not len(held):
            raise SecretNotFound(
                f"The environment variable {reference.path} was not set when Keylease was started.",
                advice="Set it where you start Keylease, and start it again.",
            )
        return FetchedSecret(
            secret=Secret(held.reveal(why="give the fetcher a copy of its own")),
            version=self._versions.name(reference, held),
            fetched_at=self._clock.now(),
        )

    async def close(self) -> None:
        """Wipe the values."""
        for secret in self._environment.values():
            secret.wipe()
        self._environment.clear()


def handover(names: Iterable[str]) -> int:
    """Put the named variables of this process's environment into a descriptor for a child.

    Names that are not set are left out; the child reports those it needs. The descriptor is at its
    start, not inheritable (pass it in ``pass_fds``), and the caller closes its own copy after the
    child was started. Raises ``ProcessFailed`` when the values are over 1 MiB.
    """
    values = {
        name: os.environb[name.encode()]
        for name in sorted(set(names))
        if name.encode() in os.environb
    }
    content = msgspec.msgpack.encode(values)
    if len(content) > MAXIMUM_BYTES:
        raise ProcessFailed(
            f"The environment variables that references name are over {MAXIMUM_BYTES} bytes.",
            advice="Keep large secrets in a file or a secret store.",
        )
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("keylease-environment", os.MFD_CLOEXEC)
        _write_all(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        return descriptor
    return _through_pipe(content)


def receive(descriptor: int) -> dict[str, Secret]:
    """Read what ``handover`` wrote, destroy it, and close the descriptor.

    Raises ``ProcessFailed`` when the content is not of that form.
    """
    chunks: list[bytes] = []
    try:
        while chunk := os.read(descriptor, _CHUNK):
            chunks.append(chunk)
            if sum(map(len, chunks)) > MAXIMUM_BYTES:
                break
        if hasattr(os, "memfd_create") and os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, 0)  # the parent may still hold a copy of the descriptor
    except OSError as error:
        raise ProcessFailed(
            f"The environment that was handed over cannot be read: {error.strerror}.",
            advice=_START_OVER,
        ) from None
    finally:
        os.close(descriptor)
    try:
        values = msgspec.msgpack.decode(b"".join(chunks), type=dict[str, bytes])
    except msgspec.MsgspecError:
        values = None
    if values is None:
        raise ProcessFailed(
            "The environment that was handed over is not of the expected form.",
            advice=_START_OVER,
        )
    return {name: Secret(value) for name, value in values.items()}


def _through_pipe(content: bytes) -> int:
    """The same where there are no memory files: a thread feeds a pipe; nothing touches a disk."""
    reader, writer = os.pipe()

    def feed() -> None:
        try:
            _write_all(writer, content)
        except BrokenPipeError:
            return  # the child ended before it had read everything; its end is reported as such
        finally:
            os.close(writer)

    threading.Thread(target=feed, name="environment-handover", daemon=True).start()
    return reader


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
