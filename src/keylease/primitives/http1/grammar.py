"""The strict grammar of a message head (RFC 9112, RFC 9110 section 5, RFC 3986).

Protects: whatever passes here can be read in one way only, by llhttp and by any other reader, so
no peer can hide a second message in a first one (request smuggling, response splitting).
Does not protect: what a path or a field *means* is decided by the handler.
Limits: obs-text (bytes from 0x80) passes in field values, which RFC 9110 section 5.5 makes opaque.

Every quantifier is possessive, or repeats alternatives of which at most one can match at a place:
no input makes matching slower than linear. (Python before 3.11.5 mismatches a possessive repeat of
alternatives, https://github.com/python/cpython/issues/106052, and we run on every 3.11.)
"""

from __future__ import annotations

import re
from typing import Final

TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_FIELDS: Final = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+"

METHOD_NAME: Final = re.compile(r"[A-Z]{1,16}")

REQUEST_HEAD: Final = re.compile(
    rb"(" + TOKEN + rb") ([\x21-\x7e]++) HTTP/1\.([01])\r\n" + _FIELDS + rb"\r\n"
)
"""Method, target, minor version. Exactly one space between them; no folded line, no bare CR or LF,
no space before a colon, no control byte but the tab in a value."""

REQUEST_LINE: Final = re.compile(TOKEN + rb" [\x21-\x7e]++ HTTP/1\.[01]\r\n")

RESPONSE_HEAD: Final = re.compile(
    rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*+)?\r\n" + _FIELDS + rb"\r\n"
)
"""Minor version, status."""

TRAILERS: Final = re.compile(_FIELDS + rb"\r\n")

STRAY_BYTE: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|(?<!\r)\n|\r(?=[^\n])")
"""What no valid head contains anywhere: finds a hopeless head before its end has arrived. A CR at
the very end is not stray, its LF may follow."""

TARGET: Final = re.compile(
    rb"""(/(?:
          [A-Za-z0-9\-_~!$&'()*+,;=:@.]           # pchar of RFC 3986 section 3.3
        | %(?!2[eEfF]|5[cC]|[01]|7[fF]            # no hidden dot, slash, backslash, control byte
            |25[0-9A-Fa-f]{2})[0-9A-Fa-f]{2}      # and nothing that is hidden twice
        | (?<!/)/                                 # no empty segment
        )*)
        (?:\?((?:
          [A-Za-z0-9\-_~!$&'()*+,;=:@./?\[\]{}|^`] # and what browsers leave bare in a query
        | %(?!00)[0-9A-Fa-f]{2}
        )*))?""",
    re.VERBOSE,
)
"""Origin form (RFC 9112 section 3.2.1): path, query."""

SENT_TARGET: Final = re.compile(rb"/[\x21-\x7e]*+")
"""What we may write into a request line: our own callers are trusted with the rest."""

DOT_SEGMENT: Final = re.compile(rb"/\.\.?(?:;[^/]*)?(?:/|\Z)")
"""``.`` and ``..``, also with a parameter, which some servers cut off before they resolve it."""

HOST: Final = re.compile(rb"(?:[A-Za-z0-9\-._]{1,253}+|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
"""A name or an address with an optional port; not empty (RFC 9110 section 7.2)."""
