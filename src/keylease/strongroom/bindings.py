"""Bindings: what may ever go where, whatever a policy says.

Protects: a secret from going to a host, for a purpose or into an environment that this gateway's
    own file does not list, also when the policy comes from a hostile platform.
Does not protect: against a binding that is wider than it has to be (``**`` and ``*`` are words of
    the file's owner), or against the bound host itself.
Limits: names are compared, not addresses. That a bound name leads to an allowed address is checked
    by the egress guard at every new connection.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from keylease.contracts.patterns import matches
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import BindingMissing, ReferenceInvalid
from keylease.strongroom.configuration import Binding, Origin

_ADVICE: Final = "The owner of the gateway can add a binding to gateway.toml."


@lru_cache(maxsize=4096)
def _reference_pattern(pattern: str) -> re.Pattern[str]:
    pieces = re.split(r"(\*\*?)", pattern)
    translated = {"*": "[^/#]*", "**": ".*"}
    expression = "".join(translated.get(piece, re.escape(piece)) for piece in pieces)
    return re.compile(expression, re.DOTALL)


class Bindings:
    """The bindings of one gateway.toml, in the order of the file."""

    def __init__(self, bindings: Iterable[Binding]) -> None:
        self._bindings = tuple(bindings)

    def decide(
        self,
        *,
        reference: str,
        provider: str,
        origin: Origin,
        purpose: Purpose,
        environment: str,
    ) -> Binding:
        """Give the first binding that allows it; ``BindingMissing`` names what no binding has.

        Every part is compared, in this order, and each step keeps only the bindings that are left.
        """
        try:
            canonical = str(Reference.parse(reference))
        except (ReferenceInvalid, UnicodeDecodeError) as error:
            raise BindingMissing(
                "The credential's reference is not valid.",
                advice="The owner of the policy has to mend it.",
            ) from error
        # 1. The place the secret comes from.
        left = [b for b in self._bindings if _reference_pattern(b.reference).fullmatch(canonical)]
        self._require(left, "its reference")
        # 2. The API family it belongs to.
        left = [b for b in left if b.provider == provider]
        self._require(left, f"its reference with the provider {provider}")
        # 3. Where it goes. Without a list of its own a binding means the catalogue's host, which
        #    is never plain http and never a private address.
        left = [b for b in left if origin in b.origins and (b.listed or origin.scheme == "https")]
        self._require(left, f"the host {origin.scheme}://{origin.host}:{origin.port}")
        # 4. Why.
        left = [b for b in left if purpose in b.purposes]
        self._require(left, f"the purpose {purpose.value}")
        # 5. In which environment.
        left = [b for b in left if any(matches(p, environment) for p in b.environments)]
        self._require(left, f"the environment {environment}")
        return left[0]

    @staticmethod
    def _require(left: list[Binding], what: str) -> None:
        if not left:
            raise BindingMissing(
                f"This gateway has no binding that allows the credential for {what}.",
                advice=_ADVICE,
            )
