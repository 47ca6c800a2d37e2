"""Providers that did not answer, or not as they should."""

from __future__ import annotations

from keylease.errors.base import KeyleaseError


class UpstreamError(KeyleaseError):
    """The provider did not give a usable answer."""

    code = "upstream_error"
    http_status = 502


class UpstreamUnreachable(UpstreamError):
    """No connection could be made; nothing was sent."""

    code = "upstream_unreachable"


class UpstreamTimedOut(UpstreamError):
    """The provider took too long."""

    code = "upstream_timed_out"
    http_status = 504


class UpstreamBroken(UpstreamError):
    """The connection broke or the answer was no HTTP; whether the call was billed is unknown."""

    code = "upstream_broken"


class UpstreamRefusedCredential(UpstreamError):
    """The provider does not accept the credential, also after a fresh fetch."""

    code = "upstream_refused_credential"


class UploadNotRepeated(UpstreamError):
    """The provider refused the credential in the middle of an upload that is too long to be kept.

    The credential was fetched again; the caller has to send the upload again.
    """

    code = "upload_not_repeated"


class UpstreamDenied(UpstreamError):
    """The provider answered 403: the credential may not do this."""

    code = "upstream_denied"
    http_status = 403


class CredentialEchoed(UpstreamError):
    """The provider's answer contained the credential that it was asked with."""

    code = "credential_echoed"
