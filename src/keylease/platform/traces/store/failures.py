"""What the engine says, as our errors.

The engine's messages hold statements, literals and paths. Nobody is shown more of them than the
sentence that says what a query has wrong, and that only for errors that are about the query.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Final, TypeVar

import structlog
from clickhouse_connect.driver.exceptions import Error

from keylease.errors import (
    QueryInvalid,
    QueryNotAllowed,
    QueryTooExpensive,
    TraceBatchRefused,
    TraceError,
    TraceStoreUnavailable,
)
from keylease.platform.traces.store.address import ServerAddress

_TOO_EXPENSIVE: Final = {
    158: "it reads or answers more rows than a query may",
    159: "it takes longer than a query may",
    160: "it would take longer than a query may",
    191: "it holds a larger set than a query may",
    241: "it needs more memory than a query may use",
    307: "it reads more bytes than a query may",
    396: "its answer is larger than a query's may be",
}
_NOT_ALLOWED: Final = frozenset({164, 291, 446, 482, 497})
"""READONLY, DATABASE_ACCESS_DENIED, FUNCTION_NOT_ALLOWED, ..., ACCESS_DENIED."""
_INVALID: Final = frozenset(
    {
        6, 7, 8, 10, 16, 20, 26, 27, 32, 33, 34, 35, 36, 38, 41, 42, 43, 44, 46, 47, 49, 50, 51, 53,
        60, 62, 63, 65, 69, 70, 72, 80, 92, 117, 125, 130, 131, 137, 153, 162, 167, 168, 169, 170,
        179, 184, 190, 206, 207, 215, 222, 223, 230, 321, 349, 352, 386, 395, 403, 407, 427, 431,
        456, 457, 479, 559, 636,
    }
)  # fmt: skip
"""Codes of ClickHouse's ``ErrorCodes.cpp`` that are about the statement or its values."""
_REFUSED: Final = frozenset({6, 16, 26, 27, 33, 41, 44, 53, 69, 70, 72, 117, 131, 321, 349, 407})
"""Of those, what an insert of ours can meet: values that no column takes."""
_DAMAGED: Final = frozenset({40, 107, 226, 227, 228, 231, 246, 271, 432})
"""CHECKSUM_DOESNT_MATCH, FILE_DOESNT_EXIST, NO_FILE_IN_DATA_PART, ..., CORRUPTED_DATA,
CANNOT_DECOMPRESS, UNKNOWN_CODEC: no query can bring them about."""
_SIGN_IN: Final = frozenset({192, 193, 194, 516})
"""UNKNOWN_USER, WRONG_PASSWORD, REQUIRED_PASSWORD, AUTHENTICATION_FAILED."""
_INSIDE: Final = re.compile(
    r"(?:[.:,]?\s+(?:[Ii]n scope |[Ww]hile |Stack trace|In query)|\(version "
    r"|\s\([A-Z_]{4,}\)\s*$).*",
    re.DOTALL,
)
_LONGEST: Final = 300
_Kind = TypeVar("_Kind", bound=BaseException)
_log: Final = structlog.stdlib.get_logger


def code_of(error: BaseException) -> int | None:
    """The engine's number for what went wrong; None when it was not the engine."""
    code = getattr(error, "code", None)
    if isinstance(code, int):
        return code
    match = re.search(r"Code:\s*(\d+)", str(error))
    return int(match.group(1)) if match else None


def reading_failed(error: Exception) -> TraceError:
    """What a reader is told."""
    code = code_of(error)
    if code in _TOO_EXPENSIVE:
        return QueryTooExpensive(
            f"The query was stopped: {_TOO_EXPENSIVE[code]}.",
            advice="Ask for a shorter time, fewer columns or fewer rows.",
        )
    if code in _NOT_ALLOWED:
        return QueryNotAllowed("The query reaches for something that queries may not use.")
    if code in _INVALID:
        return QueryInvalid(f"The engine does not take the query: {_sentence(error)}.")
    if code in _SIGN_IN:
        return _refused_sign_in()
    _say(error)
    if code in _DAMAGED:
        return _damaged()
    return TraceStoreUnavailable(
        "The trace store did not answer.",
        advice="What was sent is safe in the write-ahead log. Try again; the log says why.",
    )


def writing_failed(error: Exception) -> TraceError:
    """What the writer is told: whether it makes sense to try these rows again."""
    if is_refused_sign_in(error):
        return _refused_sign_in()
    if code_of(error) in _REFUSED:
        return TraceBatchRefused(f"The trace store does not take these rows: {_sentence(error)}.")
    _say(error)
    if code_of(error) in _DAMAGED:
        return _damaged()
    return TraceStoreUnavailable(
        "The trace store could not write.",
        advice="Check the free space and the memory limit of the store; it is tried again.",
    )


def connecting_failed(
    error: Exception, address: ServerAddress, *, password: str = ""
) -> TraceStoreUnavailable:
    """What is said when a server is not reached; ``password``: why its file was not read again."""
    if is_refused_sign_in(error):
        return _refused_sign_in(password)
    where = f"the ClickHouse server at {address.authority}"
    if distrust := _first(error, ssl.SSLCertVerificationError):
        return TraceStoreUnavailable(
            f"The certificate of {where} is not trusted: {distrust.verify_message.rstrip('.')}.",
            advice="trace_store_url says with ca_cert=/path which certificates vouch for it; the "
            "host in it must be a name in the certificate.",
        )
    if address.secure and (reason := _first(error, ssl.SSLError) or _first(error, OSError)):
        if address.ca_file and _is_about_the_file(reason):
            return TraceStoreUnavailable(
                f"The certificates in {address.ca_file} cannot be read.",
                advice="trace_store_url names the file with ca_cert: PEM, readable to the user of "
                "the server.",
            )
        if isinstance(reason, ssl.SSLError):
            return TraceStoreUnavailable(
                f"TLS with {where} fails.",
                advice="Check the port in trace_store_url, and whether TLS is spoken there.",
            )
    return TraceStoreUnavailable(
        f"T{where[1:]} does not answer.",
        advice="Check trace_store_url, whether it speaks TLS there, and that it runs.",
    )


def is_refused_sign_in(error: BaseException | None) -> bool:
    """Whether a server does not know the user, or not this password."""
    return error is not None and code_of(error) in _SIGN_IN


def _damaged() -> TraceStoreUnavailable:
    return TraceStoreUnavailable(
        "Files of the trace store are damaged.",
        advice="Stop the server, move the store away and restore a back-up with `keylease traces "
        "restore`. What is acknowledged meanwhile waits in the write-ahead log.",
    )


def _say(error: Exception) -> None:
    """The engine's number for the log: its words hold statements and what stands in them."""
    if (code := code_of(error)) is not None:
        _log().error("trace_engine_failed", engine_code=code, error=type(error).__name__)


def _refused_sign_in(why_not_again: str = "") -> TraceStoreUnavailable:
    advice = "Check the user in trace_store_url and trace_store_password_file."
    return TraceStoreUnavailable(
        "The ClickHouse server of the trace store does not let this user in.",
        advice=f"{advice} {why_not_again}".rstrip(),
    )


def _is_about_the_file(reason: OSError) -> bool:
    """What loading certificates raises; a connection that is refused or reset is not among it."""
    named = getattr(reason, "library", "") in {"X509", "PEM"}
    return named or isinstance(reason, FileNotFoundError | PermissionError | IsADirectoryError)


def _first(error: BaseException, kind: type[_Kind]) -> _Kind | None:
    return next((each for each in _causes(error) if isinstance(each, kind)), None)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and what led to it."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def is_engine_failure(error: Exception) -> bool:
    """Whether an exception comes from the engine or its client, not from our own mistake."""
    return isinstance(error, Error | OSError) or code_of(error) is not None


def _sentence(error: Exception) -> str:
    text = str(error).split("DB::Exception: ", 1)[-1]
    return _INSIDE.sub("", text).strip().rstrip(".")[:_LONGEST]
