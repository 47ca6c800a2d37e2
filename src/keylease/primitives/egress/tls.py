"""TLS of outbound connections. Light: a gateway worker imports this and no HTTP client."""

from __future__ import annotations

import ssl

import certifi


def client_context(ca_file: str | None = None) -> ssl.SSLContext:
    """TLS for clients, built without ``ssl.create_default_context``.

    That function reads SSLKEYLOGFILE and SSL_CERT_FILE. PROTOCOL_TLS_CLIENT verifies the
    certificate and the host's name.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cafile=ca_file or certifi.where())
    return context
