"""AWS Secrets Manager: names, dates and rotation of what lies there; values only when asked.

Source: boto3's secretsmanager client: ``list_secrets``, ``get_secret_value``; tried against moto.
Signs in by AWS's default credential chain, like ``aws-sm://`` references do.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorDenied, ConnectorUnreachable, StoreUnsupported
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.connectors.interfaces import Ability, Listed, ListedValue
from keylease.strongroom.connectors.session import Session
from keylease.strongroom.secrets import Secret

_DENIED: Final = {
    "AccessDeniedException",
    "UnrecognizedClientException",
    "InvalidClientTokenId",
    "ExpiredTokenException",
}


class AwsSecretsManager:
    """``account`` is the region."""

    system: ClassVar[str] = "aws-sm"
    title: ClassVar[str] = "AWS Secrets Manager"
    origin: ClassVar[str] = ""
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def __init__(self, endpoint: str = "") -> None:
        """``endpoint`` replaces AWS's own: for private endpoints and tests."""
        self._endpoint = endpoint

    def authentication(self, secret: Secret) -> dict[str, str]:
        """None: AWS's chain signs each request."""
        del secret
        return {}

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Every secret of the region; with ``values`` the fields of each."""
        del session
        client = await asyncio.to_thread(self._client, account)
        token = ""
        while True:
            page = await _call(client.list_secrets, MaxResults=100, **_from(token))
            for item in page.get("SecretList", ()):
                listed = Listed(
                    name=str(item.get("Name", ""))[:300],
                    container=account,
                    kind=PlaceKind.SECRET_STORE,
                    created_at=_moment(item.get("CreatedDate")),
                    changed_at=_moment(item.get("LastChangedDate")),
                )
                if not values:
                    yield listed
                    continue
                answer = await _call(client.get_secret_value, SecretId=item["ARN"])
                for found in _values(listed, answer):
                    yield found
            token = page.get("NextToken", "")
            if not token:
                return

    def _client(self, region: str) -> Any:  # noqa: ANN401 - boto3 ships no types
        try:
            import boto3  # noqa: PLC0415 - an extra
            from botocore.config import Config  # noqa: PLC0415 - an extra
        except ImportError:
            raise StoreUnsupported(
                "AWS needs the extra `aws`.", advice="Install keylease[aws]."
            ) from None
        bounds = Config(connect_timeout=5, read_timeout=30, retries={"max_attempts": 4})
        return boto3.client(
            "secretsmanager",
            region_name=region,
            config=bounds,
            **({"endpoint_url": self._endpoint} if self._endpoint else {}),
        )


def _from(token: str) -> dict[str, str]:
    return {"NextToken": token} if token else {}


async def _call(operation: Any, **arguments: object) -> dict[str, Any]:  # noqa: ANN401 - as above
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - an extra

    try:
        found: dict[str, Any] = await asyncio.to_thread(operation, **arguments)
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _DENIED:
            raise ConnectorDenied(
                f"AWS Secrets Manager answered {code}.",
                advice="It needs secretsmanager:ListSecrets, and GetSecretValue for values.",
            ) from None
        raise ConnectorUnreachable(f"AWS Secrets Manager answered {code}.") from None
    except BotoCoreError as error:
        raise ConnectorUnreachable(
            f"AWS Secrets Manager cannot be asked ({type(error).__name__})."
        ) from None
    return found


def _values(listed: Listed, answer: dict[str, Any]) -> list[Listed | ListedValue]:
    """The value, or each text of it when it is a JSON object."""
    text = answer.get("SecretString")
    if not isinstance(text, str):
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
