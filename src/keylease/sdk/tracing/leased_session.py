"""Sends spans with trace tokens: what OpenTelemetry's exporter is handed to send with.

Imported only where OpenTelemetry is installed, whose exporter brings ``requests``. Its own rules
decide about trying again and giving up: a gateway that is away is to it as if the platform were.
"""

from __future__ import annotations

from typing import Any, Final

import requests  # noqa: TID251 - OpenTelemetry's exporter takes a session of it and no other

from keylease.errors import GatewayNotRunning, KeyleaseError
from keylease.sdk.tracing.trace_tokens import TraceToken, TraceTokens

_UNAUTHORIZED: Final = 401


class LeasedSession(requests.Session):
    """Every request gets the present token, and goes to the platform that it is good at."""

    def __init__(self, tokens: TraceTokens, *, path: str) -> None:
        super().__init__()
        self._tokens = tokens
        self._path = path
        self.auth = _as_it_is

    def request(  # type: ignore[override]  # what the exporter uses of it
        self,
        method: str,
        url: str,
        **parts: Any,  # noqa: ANN401 - of requests
    ) -> requests.Response:
        """Send; once more with a fresh token after a 401.

        Raises ``requests.ConnectionError``, which is tried again, while there is no token, and
        ``requests.RequestException``, which is not, when there will be none.
        """
        del url  # the gateway may have said another one by now
        token = self._token()
        answer = self._send(method, token, parts)
        if answer.status_code != _UNAUTHORIZED:
            return answer
        fresh = self._token(refused=token.text)
        return answer if fresh.text == token.text else self._send(method, fresh, parts)

    def _send(self, method: str, token: TraceToken, parts: dict[str, Any]) -> requests.Response:
        headers = {**(parts.get("headers") or {}), "authorization": f"Bearer {token.text}"}
        sent = {**parts, "headers": headers, "allow_redirects": False}
        return super().request(method, token.server.rstrip("/") + self._path, **sent)

    def _token(self, *, refused: str = "") -> TraceToken:
        try:
            return self._tokens.current(refused=refused)
        except GatewayNotRunning as error:
            raise requests.ConnectionError(str(error)) from error
        except KeyleaseError as error:
            raise requests.RequestException(str(error)) from error


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Without this, a line for the platform's host in ``.netrc`` takes the token's place."""
    return request
