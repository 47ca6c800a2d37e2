"""The root of every error."""

from __future__ import annotations

from typing import ClassVar


class KeyleaseError(Exception):
    """An error with a stable code, a message that is safe to show, and advice on what to do."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, *, advice: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.advice = advice

    def __str__(self) -> str:
        return f"{self.message} {self.advice}".strip()
