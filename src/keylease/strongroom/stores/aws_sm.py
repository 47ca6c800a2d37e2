"""``aws-sm://region/name#json-field``: AWS Secrets Manager.

Rights needed: ``secretsmanager:GetSecretValue`` on the secret, and ``kms:Decrypt`` when it has a
key of its own. The identity comes from boto3's default chain (environment, profile, container,
instance), the region from the reference.

Protects: no variable, profile or file below ``~/.aws/models`` can point the client at another
    endpoint or through a proxy; the one way to another endpoint is ``aws_endpoint`` in
    gateway.toml.
Limits: blocking SDK on threads; a call that hangs past its time-out is abandoned.
"""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Mapping
from types import ModuleType
from typing import Any, ClassVar, Final

import msgspec

from keylease.contracts.references import Reference
from keylease.errors import (
    SecretInvalid,
    SecretNotFound,
    StoreAccessDenied,
    StoreError,
    StoreTimedOut,
    StoreUnavailable,
    StoreUnsupported,
)
from keylease.primitives.clock import Clock
from keylease.strongroom.configuration import StoreSettings
from keylease.strongroom.secrets import Secret
from keylease.strongroom.stores.blocking import BlockingCalls
from keylease.strongroom.stores.interfaces import FetchedSecret
from keylease.strongroom.stores.retries import with_retries

_KEY_ID: Final = "AWS_ACCESS_KEY_ID"
_KEY: Final = "AWS_SECRET_ACCESS_KEY"
_SESSION: Final = "AWS_SESSION_TOKEN"
SECRET_VARIABLES: Final = (_KEY_ID, _KEY, _SESSION)
"""The variables of the default chain that hold a secret: they come by the handover and never lie in
the environment. The others (AWS_PROFILE, AWS_ROLE_ARN ...) boto3 reads from the environment."""
_DENIED: Final = {
    "AccessDenied",
    "AccessDeniedException",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "MissingAuthenticationToken",
    "NotAuthorized",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_TIMED_OUT: Final = {"ConnectTimeoutError", "ReadTimeoutError"}
_NO_IDENTITY: Final = {
    "NoCredentialsError",
    "PartialCredentialsError",
    "CredentialRetrievalError",
    "ProfileNotFound",
    "TokenRetrievalError",
    "SSOTokenLoadError",
    "UnauthorizedSSOTokenError",
    "InvalidConfigError",
}


class AwsSecretsManagerStore:
    """Reads AWS Secrets Manager through boto3, which is imported at the first fetch."""

    scheme: ClassVar[str] = "aws-sm"

    def __init__(
        self, settings: StoreSettings, *, clock: Clock, environment: Mapping[str, Secret]
    ) -> None:
        """``environment`` may hold the ``SECRET_VARIABLES``."""
        self._settings = settings
        self._clock = clock
        self._environment = environment
        self._calls = BlockingCalls("aws-store")
        self._clients: dict[str, Any] = {}
        self._guard = threading.Lock()

    async def fetch(self, reference: Reference) -> FetchedSecret:
        """Ask for the version with the stage from gateway.toml (AWSCURRENT by default)."""
        return await with_retries(
            lambda: self._attempt(reference), attempts=self._settings.attempts
        )

    async def close(self) -> None:
        """Close the connections."""
        with self._guard:
            for client in self._clients.values():
                client.close()
            self._clients.clear()

    async def _attempt(self, reference: Reference) -> FetchedSecret:
        seconds = self._settings.timeout_seconds
        try:
            return await self._calls.call(lambda: self._ask(reference), seconds=seconds)
        except TimeoutError:
            raise _timed_out(seconds) from None

    def _ask(self, reference: Reference) -> FetchedSecret:
        fetched_at = self._clock.now()
        region, _, name = reference.path.partition("/")
        stage = self._settings.aws_version_stage
        try:
            answer = self._client(region).get_secret_value(SecretId=name, VersionStage=stage)
        except StoreError:
            raise
        except Exception as error:  # noqa: BLE001 - botocore's errors have no useful common base
            failure = self._explained(error, name=name, region=region)
        else:
            return FetchedSecret(
                secret=_secret_of(answer, reference),
                version=str(answer.get("VersionId", "")),
                fetched_at=fetched_at,
            )
        # Raised here, where the foreign error, which may quote an answer, is no longer around.
        raise failure

    def _client(self, region: str) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        with self._guard:
            if region not in self._clients:
                self._clients[region] = self._new_client(region)
            return self._clients[region]

    def _new_client(self, region: str) -> Any:  # noqa: ANN401 - as _client
        session_module, config_module = _sdk()
        for name in ("boto3", "botocore", "urllib3"):
            # At the level DEBUG these write whole answers, secrets included, to the log.
            logging.getLogger(name).setLevel(logging.WARNING)
        seconds = self._settings.timeout_seconds
        config = config_module.Config(
            connect_timeout=seconds,
            read_timeout=seconds,
            retries={"total_max_attempts": 1, "mode": "standard"},  # with_retries does it
            proxies={},
            ignore_configured_endpoint_urls=True,
        )
        core = session_module.Session()
        use_shipped_models(core)
        # The chain's own clients (STS) are made with the session's default: the same rules hold.
        core.set_default_client_config(config)
        identity = self._environment
        if _KEY_ID in identity and _KEY in identity:
            core.set_credentials(
                _opened(identity[_KEY_ID]),
                _opened(identity[_KEY]),
                _opened(identity[_SESSION]) if _SESSION in identity else None,
            )
        return core.create_client(
            "secretsmanager",
            region_name=region,
            endpoint_url=self._settings.aws_endpoint or None,
            verify=True,
        )

    def _explained(self, error: Exception, *, name: str, region: str) -> StoreError:
        """Our words for a foreign error. Nothing of its text is kept."""
        kind = type(error).__name__
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            return _refusal(str(response.get("Error", {}).get("Code", "")), status, name, region)
        if kind in _TIMED_OUT:
            return _timed_out(self._settings.timeout_seconds)
        if kind in _NO_IDENTITY:
            return StoreAccessDenied(
                f"There is no usable AWS identity ({kind}).",
                advice="Give the gateway a role, a profile or AWS_* variables.",
            )
        if kind == "ParamValidationError":
            return _no_name(name)
        return StoreUnavailable(
            f"AWS Secrets Manager in {region} cannot be reached ({kind}).",
            advice="Check the network and, if set, endpoint under [stores.aws] in gateway.toml.",
        )


def use_shipped_models(core: Any) -> None:  # noqa: ANN401 - botocore ships no types
    """Let a botocore session read its description of AWS from its own package only.

    ``AWS_DATA_PATH``, ``data_path`` of a profile and ``~/.aws/models`` come first otherwise, and
    what lies there says which host a service has.
    """
    loader = importlib.import_module("botocore.loaders").Loader
    core.register_component(
        "data_loader",
        loader(extra_search_paths=[loader.BUILTIN_DATA_PATH], include_default_search_paths=False),
    )


def _opened(secret: Secret) -> str:
    return secret.reveal(why="sign requests to AWS").decode("latin-1")


def _sdk() -> tuple[ModuleType, ModuleType]:
    try:
        importlib.import_module("boto3")
        return importlib.import_module("botocore.session"), importlib.import_module(
            "botocore.config"
        )
    except ImportError:
        raise StoreUnsupported(
            "aws-sm:// references need the AWS SDK.",
            advice="Install it: pip install 'keylease[aws]'.",
        ) from None


def _refusal(code: str, status: int, name: str, region: str) -> StoreError:
    if code == "ResourceNotFoundException":
        return SecretNotFound(
            f"AWS Secrets Manager in {region} has no secret {name} with this version stage.",
            advice="Check the region and the name in the reference.",
        )
    if code == "InvalidRequestException":
        return SecretNotFound(
            f"The secret {name} in {region} cannot be read as it is; it may be due for deletion.",
            advice="`aws secretsmanager restore-secret` brings it back.",
        )
    if code == "DecryptionFailure":
        return StoreAccessDenied(
            f"AWS could not decrypt the secret {name}.",
            advice="Grant kms:Decrypt on its key to the gateway's identity.",
        )
    if code in _DENIED:
        return StoreAccessDenied(
            f"AWS refuses the gateway's identity the secret {name} ({code}).",
            advice="Grant secretsmanager:GetSecretValue on it, and kms:Decrypt on its key.",
        )
    if code in {"InvalidParameterException", "ValidationException"}:
        return _no_name(name)
    shown = code if code.isalnum() else str(status)
    return StoreUnavailable(
        f"AWS Secrets Manager in {region} answered with an error ({shown}).",
        advice="It was tried again; see the AWS health dashboard if it lasts.",
    )


def _no_name(name: str) -> SecretInvalid:
    return SecretInvalid(
        f"AWS does not take {name} as the name of a secret.",
        advice="Write aws-sm://region/name, or the ARN in the place of the name.",
    )


def _timed_out(seconds: float) -> StoreTimedOut:
    return StoreTimedOut(
        f"AWS Secrets Manager did not answer in {seconds:g} seconds.",
        advice="Check the network, or raise timeout under [stores] in gateway.toml.",
    )


def _secret_of(answer: dict[str, Any], reference: Reference) -> Secret:
    text, binary = answer.get("SecretString"), answer.get("SecretBinary")
    if not reference.field:
        if isinstance(text, str):
            return Secret(text)
        if isinstance(binary, bytes):
            return Secret(binary)
        raise SecretInvalid(
            "AWS Secrets Manager answered without a secret.",
            advice="Check the secret there and, if set, endpoint under [stores.aws].",
        )
    if not isinstance(text, str):
        raise SecretInvalid(
            "The secret is binary and has no fields.",
            advice=f"Leave #{reference.field} out of the reference.",
        )
    return json_field(text.encode(), reference.field)


def json_field(document: bytes, field: str) -> Secret:
    """The text member ``field`` of a JSON object."""
    try:
        members = msgspec.json.decode(document, type=dict[str, msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError):
        members = None
    if members is None:
        raise SecretInvalid(
            "The secret is no JSON object, so it has no fields.",
            advice=f"Leave #{field} out of the reference.",
        )
    if field not in members:
        raise SecretNotFound(
            f"The secret has no field {field}.", advice="Check the part after # in the reference."
        )
    try:
        return Secret(msgspec.json.decode(members[field], type=str))
    except msgspec.MsgspecError:
        pass
    raise SecretInvalid(
        f"The field {field} of the secret is not text.", advice="Store the key as a JSON text."
    )
