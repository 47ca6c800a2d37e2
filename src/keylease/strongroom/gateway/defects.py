"""Where a defect is, without anything of what it was working on."""

from __future__ import annotations

from pathlib import Path


def place_of(error: BaseException) -> str:
    """``file:line`` where an exception was raised. Its text is left out: it could hold a secret."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
