"""The form of a token exchange request, and scopes (RFC 8693 section 2.1, RFC 6749 section 3.3)."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import parse_qsl

import msgspec

from keylease.contracts.leases import GATEWAY_AUDIENCE, LeaseClaims
from keylease.contracts.purposes import Purpose
from keylease.contracts.trace_tokens import INGEST_AUDIENCE, LEASE_TOKEN_TYPE
from keylease.errors import TokenExchangeRefused

MAXIMUM_FORM_BYTES: Final = 64 * 1024
ISSUED_TOKEN_TYPE: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 -- a name of RFC 8693
_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"  # noqa: S105 -- as above
API_KEY_TYPE: Final = "urn:keylease:params:oauth:token-type:api-key"
"""The type of a platform API key. It is taken as an access token too, as which clients know it that
have the types of RFC 8693 only."""
_ACCESS_TOKEN: Final = ISSUED_TOKEN_TYPE
_SUBJECT_TYPES: Final = (_JWT, _ID_TOKEN, API_KEY_TYPE, _ACCESS_TOKEN)
_LEASE_TYPES: Final = (LEASE_TOKEN_TYPE, _ACCESS_TOKEN)
_GRANT_TYPE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_CONTENT_TYPE: Final = re.compile(
    r'application/x-www-form-urlencoded(?:\s*;\s*charset="?utf-8"?)?', re.IGNORECASE
)
_MAXIMUM_FIELDS: Final = 32
_LIFETIME: Final = re.compile(r"[1-9][0-9]{0,8}")


class ExchangeForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    subject_token: bytes
    is_api_key: bool = False
    """Of the platform; otherwise it is a JWT."""
    purpose: Purpose
    environment: str
    models: tuple[str, ...]
    lifetime: int | None

    def __repr__(self) -> str:
        return f"ExchangeForm(purpose={self.purpose!r}, environment={self.environment!r})"


class TraceTokenForm(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for that has a lease and wants to send spans."""

    lease: bytes
    lifetime: int | None

    def __repr__(self) -> str:
        return "TraceTokenForm(lease=********)"


def read_form(
    form: bytes, content_type: str, *, own_urls: tuple[str, ...]
) -> ExchangeForm | TraceTokenForm:
    """Read a request; raises ``TokenExchangeRefused`` with the error code RFC 6749 has for it.

    The audience decides which of the two it is.
    """
    fields = _fields(form, content_type)
    # 1. What kind of exchange is it?
    if "grant_type" not in fields:
        raise TokenExchangeRefused("The grant_type is missing.")
    if fields["grant_type"] != _GRANT_TYPE:
        raise TokenExchangeRefused(
            f"The grant_type is not {_GRANT_TYPE}.", oauth_error="unsupported_grant_type"
        )
    if "actor_token" in fields:
        raise TokenExchangeRefused("Actor tokens are not supported.")
    subject_type = fields.get("subject_token_type", "")
    for_spans = fields.get("audience") == INGEST_AUDIENCE
    types = _LEASE_TYPES if for_spans else _SUBJECT_TYPES
    if subject_type not in types:
        raise TokenExchangeRefused(f"The subject_token_type is none of {', '.join(types)}.")
    if fields.get("requested_token_type", ISSUED_TOKEN_TYPE) not in (ISSUED_TOKEN_TYPE, _JWT):
        raise TokenExchangeRefused("The requested_token_type is not one that is issued here.")
    subject_token = fields.get("subject_token", "")
    if not subject_token or not subject_token.isascii():
        raise TokenExchangeRefused("The subject_token is missing or is no JWT.")
    # 2. Is it for us?
    audience, resource = fields.get("audience"), fields.get("resource")
    if for_spans and resource is None:
        return TraceTokenForm(
            lease=subject_token.encode(), lifetime=_lifetime(fields.get("requested_lifetime"))
        )
    if audience not in (None, GATEWAY_AUDIENCE) or resource not in (None, *own_urls):
        raise TokenExchangeRefused(
            "Nothing is issued here for this audience or resource.",
            oauth_error="invalid_target",
            advice=f"Leave both out, or ask for the audience {GATEWAY_AUDIENCE} (leases) or"
            f" {INGEST_AUDIENCE} (trace tokens, for a lease).",
        )
    # 3. What is wanted?
    scope = _Scope.read(fields.get("scope", ""))
    return ExchangeForm(
        subject_token=subject_token.encode(),
        is_api_key=subject_type in (API_KEY_TYPE, _ACCESS_TOKEN),
        purpose=_purpose(_one_of("purpose", fields.get("purpose", ""), scope.purpose)),
        environment=_one_of("environment", fields.get("environment", ""), scope.environment),
        models=_models(fields.get("models", ""), scope.models),
        lifetime=_lifetime(fields.get("requested_lifetime")),
    )


def scope_of(claims: LeaseClaims) -> str:
    """A lease's claims as a scope, for the answer."""
    return " ".join(
        [
            f"purpose:{claims.purpose}",
            f"environment:{claims.environment}",
            *(f"model:{model}" for model in claims.models),
        ]
    )


class _Scope(msgspec.Struct, frozen=True):
    purpose: str
    environment: str
    models: tuple[str, ...]

    @classmethod
    def read(cls, text: str) -> _Scope:
        found: dict[str, list[str]] = {"purpose": [], "environment": [], "model": []}
        for word in text.split():
            name, separator, value = word.partition(":")
            if not separator or not value or name not in found:
                raise _scope_refused("A scope is not purpose:..., environment:... or model:...")
            found[name].append(value)
        if len(found["purpose"]) > 1 or len(found["environment"]) > 1:
            raise _scope_refused("A lease has one purpose and one environment.")
        return cls(
            purpose="".join(found["purpose"]),
            environment="".join(found["environment"]),
            models=tuple(dict.fromkeys(found["model"])),
        )


def _fields(form: bytes, content_type: str) -> dict[str, str]:
    if not _CONTENT_TYPE.fullmatch(content_type.strip()):
        raise TokenExchangeRefused("The request is not application/x-www-form-urlencoded.")
    if len(form) > MAXIMUM_FORM_BYTES:
        raise TokenExchangeRefused("The request is too large.")
    try:
        pairs = parse_qsl(
            form.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MAXIMUM_FIELDS,
        )
    except ValueError as error:
        raise TokenExchangeRefused("The form is malformed.") from error
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise TokenExchangeRefused("The form has a parameter twice.")
    # RFC 6749 section 3.2: a parameter without a value counts as left out.
    return {name: value for name, value in fields.items() if value}


def _one_of(name: str, parameter: str, scope: str) -> str:
    if parameter and scope and parameter != scope:
        raise _scope_refused(f"The parameter {name} and the scope contradict each other.")
    if not parameter and not scope:
        raise TokenExchangeRefused(
            f"The request names no {name}.",
            advice=f"Send {name}=... or scope={name}:...",
        )
    return parameter or scope


def _purpose(text: str) -> Purpose:
    try:
        return Purpose(text)
    except ValueError as error:
        known = ", ".join(Purpose)
        raise _scope_refused(f"The purpose is none of {known}.") from error


def _models(parameter: str, scope: tuple[str, ...]) -> tuple[str, ...]:
    models = tuple(dict.fromkeys(parameter.split()))
    if models and scope and models != scope:
        raise _scope_refused("The parameter models and the scope contradict each other.")
    return models or scope


def _lifetime(text: str | None) -> int | None:
    if text is None:
        return None
    if not _LIFETIME.fullmatch(text):
        raise TokenExchangeRefused("The requested_lifetime is no whole number of seconds.")
    return int(text)


def _scope_refused(message: str) -> TokenExchangeRefused:
    return TokenExchangeRefused(message, oauth_error="invalid_scope")
