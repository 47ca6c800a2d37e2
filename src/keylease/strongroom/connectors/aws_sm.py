"""AWS Secrets Manager: names, dates and rotation of what lies there; values only when asked.

Source: boto3's clients of secretsmanager (``list_secrets``, ``get_secret_value``) and of sts
(``assume_role``); tried against moto. Signs in by AWS's default credential chain, like ``aws-sm://``
references do, and assumes a role from there when gateway.toml names one, for a quarter of an hour.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.errors import (
    ConnectorAnswerInvalid,
    ConnectorDenied,
    ConnectorThrottled,
    ConnectorUnreachable,
    StoreUnsupported,
)
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.connectors.interfaces import Ability, Listed, ListedValue
from keylease.strongroom.connectors.session import MAXIMUM_PAGES, Session
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.aws_sm import SECRET_VARIABLES, use_shipped_models

_DENIED: Final = {
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredTokenException",
    "AccessDenied",
    "DecryptionFailure",
    "InvalidSignatureException",
    "SignatureDoesNotMatch",
}
_THROTTLED: Final = {"ThrottlingException", "Throttling", "TooManyRequestsException"}
_GONE: Final = {"ResourceNotFoundException", "InvalidRequestException"}
"""Of a value: it has none yet, or it was deleted between the list and the question."""
_PAGE: Final = 100
_SESSION_NAME: Final = "keylease-inventory"
"""As CloudTrail shows it."""
_SHORTEST_SESSION: Final = 900
"""Seconds: the least that STS gives."""
_ASSUMED: Final = ("AccessKeyId", "SecretAccessKey", "SessionToken")
_ADVICE: Final = (
    "It needs secretsmanager:ListSecrets; for values GetSecretValue, and kms:Decrypt on their keys;"
    " for a role sts:AssumeRole on it, and the role's trust."
)


class AwsSecretsManager:
    """``account`` is the region."""

    system: ClassVar[str] = "aws-sm"
    title: ClassVar[str] = "AWS Secrets Manager"
    origin: ClassVar[str] = ""
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def __init__(
        self,
        endpoint: str = "",
        *,
        identity: Mapping[str, Secret] | None = None,
        role: str = "",
        sts_endpoint: str = "",
        timeout: float = 30,
    ) -> None:
        """``endpoint`` replaces AWS's own: for private endpoints and tests.

        ``identity`` may hold the secret variables of AWS's chain, which are in no environment.
        ``role`` is the ARN of the role to assume, at ``sts_endpoint`` or AWS's own.
        """
        self._role = role
        self._sts_endpoint = sts_endpoint
        self._endpoint = endpoint
        self._identity = identity or {}
        self._timeout = timeout

    def authentication(self, secret: Secret) -> dict[str, str]:
        """None: AWS's chain signs each request."""
        del secret
        return {}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Every secret of the region; with ``values`` the fields of each.

        A value that may not be read is left out, and said at the end by ``ConnectorDenied``.
        """
        del session
        assumed = await self._assumed(account) if self._role else None
        client = await asyncio.to_thread(self._client, account, assumed)
        token, denied = "", 0
        for _ in range(MAXIMUM_PAGES):
            page = await _call(client.list_secrets, MaxResults=_PAGE, **_from(token))
            for item in page.get("SecretList", ()):
                listed = Listed(
                    name=str(item.get("Name", ""))[:300],
                    container=account,
                    kind=PlaceKind.SECRET_STORE,
                    created_at=_moment(item.get("CreatedDate")),
                    changed_at=_moment(item.get("LastChangedDate")),
                )
                found: list[Listed | ListedValue] = [listed]
                if values:
                    try:
                        answer = await _call(client.get_secret_value, SecretId=item["ARN"])
                        found = _values(listed, answer)
                    except ConnectorDenied:
                        denied += 1
                for one in found:
                    yield one
            token = page.get("NextToken", "")
            if not token:
                break
        else:
            raise ConnectorAnswerInvalid(f"{self.title} gives pages without an end.")
        if denied:
            raise ConnectorDenied(
                f"{self.title} did not give {denied} of the values.", advice=_ADVICE
            )

    async def _assumed(self, region: str) -> dict[str, Any]:
        """Credentials of the role. Raises ``ConnectorDenied`` when it may not be assumed."""
        sts = await asyncio.to_thread(self._client, region, None, "sts")
        answer = await _call(
            sts.assume_role,
            service="AWS STS",
            RoleArn=self._role,
            RoleSessionName=_SESSION_NAME,
            DurationSeconds=_SHORTEST_SESSION,
        )
        found: dict[str, Any] = answer.get("Credentials", {})
        return found

    def _client(
        self, region: str, assumed: dict[str, Any] | None = None, service: str = "secretsmanager"
    ) -> Any:  # noqa: ANN401 - botocore ships no types
        try:
            from botocore.config import Config  # noqa: PLC0415 - an extra
            from botocore.session import Session as Core  # noqa: PLC0415 - an extra
        except ImportError:
            raise StoreUnsupported(
                "AWS needs the extra `aws`.", advice="Install keylease[aws]."
            ) from None
        for name in ("boto3", "botocore", "urllib3"):
            # At the level DEBUG these write whole answers, secrets included, to the log.
            logging.getLogger(name).setLevel(logging.WARNING)
        # No variable or profile points it at another endpoint or through a proxy.
        config = Config(
            connect_timeout=self._timeout,
            read_timeout=self._timeout,
            retries={"total_max_attempts": 4, "mode": "standard"},
            proxies={},
            ignore_configured_endpoint_urls=True,
        )
        core = Core()
        use_shipped_models(core)
        core.set_default_client_config(config)
        if assumed is not None:
            core.set_credentials(*map(assumed.__getitem__, _ASSUMED))
        elif {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"} <= self._identity.keys():
            core.set_credentials(*map(self._opened, SECRET_VARIABLES))
        return core.create_client(
            service,
            region_name=region,
            endpoint_url=(self._sts_endpoint if service == "sts" else self._endpoint) or None,
            verify=True,
        )

    def _opened(self, name: str) -> str | None:
        secret = self._identity.get(name)
        return secret.reveal(why="sign requests to AWS").decode("latin-1") if secret else None


def _from(token: str) -> dict[str, str]:
    return {"NextToken": token} if token else {}


async def _call(
    operation: Any,  # noqa: ANN401 - as above
    service: str = "AWS Secrets Manager",
    **arguments: object,
) -> dict[str, Any]:
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

    try:
        found: dict[str, Any] = await asyncio.to_thread(operation, **arguments)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE:
            return {}
        if code in _DENIED:
            raise ConnectorDenied(f"{service} answered {code}.", advice=_ADVICE) from None
        if code in _THROTTLED:
            raise ConnectorThrottled(
                f"{service} answered {code}.", advice="Try again later."
            ) from None
        raise ConnectorUnreachable(f"{service} answered {code}.") from None
    except BotoCoreError as error:
        raise ConnectorUnreachable(f"{service} cannot be asked ({type(error).__name__}).") from None
    return found


def _values(listed: Listed, answer: dict[str, Any]) -> list[Listed | ListedValue]:
    """The value, or each text of it when it is a JSON object."""
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    if isinstance(binary, bytes) and binary:
        return [ListedValue(listed, Secret(binary))]
    if not isinstance(text, str) or not text:
        return [listed]
    try:
        fields = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        fields = text
    if not isinstance(fields, dict):
        return [ListedValue(listed, Secret(text))]
    return [
        ListedValue(msgspec.structs.replace(listed, name=f"{listed.name}#{name}"), Secret(value))
        for name, value in fields.items()
        if isinstance(value, str) and value
    ]


def _moment(value: object) -> int:
    return round(value.timestamp() * MICROSECONDS) if isinstance(value, datetime) else 0
