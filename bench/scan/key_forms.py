"""Texts in the forms of keys, made up from a source of chance. Apart from the detectors."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import random
import string
import uuid
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

LOWER, UPPER, DIGITS = string.ascii_lowercase, string.ascii_uppercase, string.digits
ALNUM = LOWER + UPPER + DIGITS
HEX = DIGITS + "abcdef"
URL_SAFE = ALNUM + "-_"
BASE64 = ALNUM + "+/"
BASE32 = UPPER + "234567"
Chance = random.Random


@dataclasses.dataclass(frozen=True)
class Kind:
    """One kind of key: who issues it, what programs call it, how one is made up."""

    name: str
    provider: str
    variable: str
    make: Callable[[Chance], str]
    client: str = "Client"
    host: str = ""
    header: str = "Authorization: Bearer {}"
    companion: str = ""
    """Another line that always stands beside it; ``{id}`` is filled at random."""


def of(alphabet: str, size: int) -> Callable[[Chance], str]:
    return lambda chance: "".join(chance.choices(alphabet, k=size))


def joined(*parts: str | Callable[[Chance], str]) -> Callable[[Chance], str]:
    return lambda chance: "".join(p if isinstance(p, str) else p(chance) for p in parts)


def crc_base62(text: str) -> str:
    number, digits = binascii.crc32(text.encode()), DIGITS + UPPER + LOWER
    result = ""
    for _ in range(6):
        result = digits[number % 62] + result
        number //= 62
    return result


def summed(prefix: str, size: int) -> Callable[[Chance], str]:
    """A prefix, random characters, and their CRC-32 in base62."""

    def make(chance: Chance) -> str:
        body = of(ALNUM, size)(chance)
        return prefix + body + crc_base62(body)

    return make


def a_uuid(chance: Chance) -> str:
    return str(uuid.UUID(int=chance.getrandbits(128), version=4))


def private_key(chance: Chance) -> str:
    del chance  # a fresh key each time; there is no seed to give
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - fake, made quickly
    return key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()
    ).decode()


def bedrock(chance: Chance) -> str:
    user = f"BedrockAPIKey-{of(LOWER + DIGITS, 4)(chance)}-at-{of(DIGITS, 12)(chance)}:"
    return (
        "ABSK" + base64.b64encode(user.encode() + base64.b64encode(chance.randbytes(32))).decode()
    )


def presigned(chance: Chance) -> str:
    query = "bedrock.amazonaws.com/?Action=CallWithBearerToken&X-Amz-Algorithm=AWS4-HMAC-SHA256&"
    query += (
        f"X-Amz-Credential=ASIA{of(BASE32, 16)(chance)}%2F20261101%2Fus-east-1&X-Amz-Signature="
    )
    return (
        "bedrock-api-key-"
        + base64.b64encode((query + chance.randbytes(32).hex()).encode()).decode()
    )


def token(chance: Chance) -> str:
    head = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"k1","typ":"JWT"}').decode().rstrip("=")
    body = f'{{"iss":"https://idp.internal","sub":"{a_uuid(chance)}","exp":1893456000}}'
    middle = base64.urlsafe_b64encode(body.encode()).decode().rstrip("=")
    return f"{head}.{middle}.{of(URL_SAFE, 342)(chance)}"


def service_account(chance: Chance) -> str:
    """The file that the console gives out, whole."""
    account = {
        "type": "service_account",
        "project_id": "acme-prod",
        "private_key_id": of(HEX, 40)(chance),
        "private_key": private_key(chance).replace("RSA PRIVATE", "PRIVATE"),
        "client_email": "runner@acme-prod.iam.gserviceaccount.com",
        "client_id": of(DIGITS, 21)(chance),
        "token_uri": "https://oauth2.googleapis.com/token",
    }
    return json.dumps(account, indent=2)
