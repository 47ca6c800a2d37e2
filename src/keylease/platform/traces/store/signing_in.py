"""The password at a ClickHouse server: the one that was given, or the one in its file since.

A password that was changed on the server is refused there; then its file is read again, which is
enough where the server's own user may still open it. Whether it may is the operator's choice: a
file that only root reads needs another start.
"""

from __future__ import annotations

import threading
from typing import Final

import structlog

from keylease.errors import ConfigurationError
from keylease.platform.traces.store.address import StoreServer

_log: Final = structlog.stdlib.get_logger


class SigningIn:
    """The password in use, for all clients of one engine."""

    def __init__(self, server: StoreServer) -> None:
        self._read = server.read_again
        self._lock = threading.Lock()
        self.password = server.password
        self.trouble = ""
        """Why the file could not be read again; empty when it could, or need not."""

    def renewed(self, refused: str) -> bool:
        """Whether there is another password than the one that was refused, now or since."""
        why = "to compare it with the one that was refused"
        with self._lock:
            if self.password.reveal(why=why) != refused:
                return True
            if self._read is None:
                return False
            try:
                found = self._read()
            except ConfigurationError as error:
                if not self.trouble:
                    _log().error("trace_store_password_not_read", message=error.message)
                self.trouble = f"{error.message} Start the server again after a change."
                return False
            self.trouble = ""
            if found.reveal(why=why) == refused:
                return False
            self.password = found
            _log().info("trace_store_password_read_again")
            return True
