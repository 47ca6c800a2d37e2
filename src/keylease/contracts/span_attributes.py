"""Names of span attributes: the GenAI conventions of OpenTelemetry, and our own ``keylease.*``.

The GenAI names live here and nowhere else. ``GENAI_REVISION`` says which state of the conventions
they follow; they are still marked "development" there, so it changes when a name does. Names under
``keylease.`` are ours and append-only.
"""

from __future__ import annotations

from typing import Final

GENAI_REVISION: Final = "semantic-conventions-genai, development, 2026-11"

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
RESPONSE_MODEL: Final = "gen_ai.response.model"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHE_READ_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
CACHE_WRITE_TOKENS: Final = "gen_ai.usage.cache_creation.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"

ERROR_TYPE: Final = "error.type"
HTTP_METHOD: Final = "http.request.method"
HTTP_STATUS: Final = "http.response.status_code"
HTTP_ROUTE: Final = "http.route"

REQUEST_ID: Final = "keylease.request_id"
ORGANIZATION: Final = "keylease.organization_id"
PROJECT: Final = "keylease.project"
PRINCIPAL: Final = "keylease.principal"
LEASE_ID: Final = "keylease.lease_id"
GRANT_ID: Final = "keylease.grant_id"
PURPOSE: Final = "keylease.purpose"
ENVIRONMENT: Final = "keylease.environment"
CREDENTIAL_ID: Final = "keylease.credential_id"
CREDENTIAL_VERSION: Final = "keylease.credential_version"
UPSTREAM_MODEL: Final = "keylease.upstream_model"
PROVIDER_REQUEST_ID: Final = "keylease.provider_request_id"
TIME_TO_FIRST_CHUNK: Final = "keylease.time_to_first_chunk_us"
"""Microseconds."""
STREAMED: Final = "keylease.streamed"
RETRIES: Final = "keylease.retries"
CLIENT_GONE: Final = "keylease.client_gone"
COST: Final = "keylease.cost_micro_usd"
PRICE_VERSION: Final = "keylease.price_version"
ESTIMATED: Final = "keylease.estimated"
POLICY_VERSION: Final = "keylease.policy_version"
INPUT: Final = "keylease.input"
"""Masked text, when the policy says so."""
OUTPUT: Final = "keylease.output"
CONTENT_TRUNCATED: Final = "keylease.content_truncated"
RECORD_FORMAT: Final = "keylease.record_format"
