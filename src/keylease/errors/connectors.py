"""Outside systems that keep secrets."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class ConnectorError(KeyleaseError):
    """An outside system that keeps secrets did not do what was asked."""

    code = "connector_failed"


class ConnectorUnknown(ConnectorError):
    """gateway.toml lists no such connector, or the system is not known."""

    code = "connector_unknown"
    exit_status = 64


class ConnectorUnreachable(ConnectorError):
    """The system cannot be reached, or does not answer in time."""

    code = "connector_unreachable"


class ConnectorDenied(ConnectorError):
    """The system does not accept the connector's credential, or it may not list secrets."""

    code = "connector_denied"


class ConnectorThrottled(ConnectorError):
    """The system asks to come back later than is worth waiting for."""

    code = "connector_throttled"


class ConnectorAnswerInvalid(ConnectorError):
    """The system answered something that is not of its published form."""

    code = "connector_answer_invalid"
