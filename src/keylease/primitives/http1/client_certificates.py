"""The certificate that a client showed in its TLS handshake, by its thumbprint (RFC 8705)."""

from __future__ import annotations

import asyncio
import base64
import hashlib


def client_certificate(transport: asyncio.BaseTransport) -> str:
    """SHA-256 of the certificate in DER, base64url; empty without TLS or without a certificate.

    The handshake has checked that the client has its key, and that it comes from an authority the
    server names.
    """
    connection = transport.get_extra_info("ssl_object")
    certificate = connection.getpeercert(binary_form=True) if connection is not None else None
    if not certificate:
        return ""
    digest = hashlib.sha256(certificate).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
