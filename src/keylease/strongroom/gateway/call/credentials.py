"""The header lines that carry a credential, rendered once for each fetched secret.

Protects: a secret that could not be one header value is refused before it is sent.
Limits: the rendered lines, and the forms that no answer may contain, are copies of the secret in
    this process's memory, for each credential, until the secret is fetched anew or its age is over.
"""

from __future__ import annotations

import itertools
from typing import Final

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.policy import Credential
from keylease.strongroom.gateway.call.echo_guard import Needles
from keylease.strongroom.gateway.call.secret_forms import forms_of
from keylease.strongroom.gateway.interfaces import CoordinatorLink
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.provider_keys import provider_key

_NUMBERS: Final = itertools.count(1)
_AUTHENTICATION: Final = {
    WireFormat.OPENAI: b"authorization: Bearer %b\r\naccept-encoding: identity\r\n",
    WireFormat.ANTHROPIC: b"x-api-key: %b\r\naccept-encoding: identity\r\n",
}


class Authentication:
    """One secret, ready to be sent."""

    __slots__ = ("fetched", "header_lines", "needles", "number", "secret", "version")

    def __init__(self, fetched: FetchedSecret, wire_format: WireFormat) -> None:
        secret = provider_key(fetched.secret, why="authenticate to the provider the binding names")
        self.fetched = fetched
        self.secret = secret
        self.version = fetched.version
        self.number = next(_NUMBERS)
        """No other one of this process has it: what was found out about one may be remembered."""
        self.needles = Needles(forms_of(secret))
        """What no answer may contain."""
        self.header_lines = _AUTHENTICATION[wire_format] % secret

    def __repr__(self) -> str:
        return f"Authentication(version={self.version!r})"


class Authentications:
    """The rendered credentials of one worker."""

    def __init__(self, link: CoordinatorLink) -> None:
        self._link = link
        self._rendered: dict[str, Authentication] = {}

    def at_hand(self, credential: Credential, wire_format: WireFormat) -> Authentication | None:
        """The credential, if this worker holds a secret that is young enough."""
        fetched = self._link.try_credential(credential)
        if fetched is None:
            self._rendered.pop(credential.id, None)
            return None
        return self._render(credential.id, wire_format, fetched)

    async def fetch(
        self, credential: Credential, wire_format: WireFormat, *, fetched_after: int = 0
    ) -> Authentication:
        """The credential, from its store if need be. Raises ``StoreError``."""
        fetched = await self._link.credential(credential, fetched_after=fetched_after)
        return self._render(credential.id, wire_format, fetched)

    def _render(
        self, credential_id: str, wire_format: WireFormat, fetched: FetchedSecret
    ) -> Authentication:
        rendered = self._rendered.get(credential_id)
        if rendered is None or rendered.fetched is not fetched:
            rendered = self._rendered[credential_id] = Authentication(fetched, wire_format)
        return rendered
