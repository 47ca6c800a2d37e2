"""Fills the templates of the definitions' examples: ``{w:20}`` is twenty letters and digits.

Everything is made at run time from parts, so no text in the repository looks like a live key.
Checksums are computed here once more, independently of the detectors.
"""

from __future__ import annotations

import base64
import json
import random
import re
import string
import uuid
import zlib
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from keylease.contracts.api_keys import ApiKeyKind, mint

WORD = string.ascii_letters + string.digits
ALPHABETS = {
    "w": WORD,
    "d": WORD + "_-",
    "b": WORD + "+/",
    "h": "0123456789abcdef",
    "a": string.ascii_lowercase + string.digits,
    "l": string.ascii_letters,
    "2": string.ascii_uppercase + "234567",
}
_SLOT = re.compile(r"\{([a-z_0-9]+)(?::(\d+))?\}")


def fill(template: str, seed: int) -> str:
    """The template with every slot filled; the same seed gives the same text."""
    chance = random.Random(f"{template} {seed}")  # noqa: S311 - no secret
    result = ""
    position = 0
    for slot in _SLOT.finditer(template):
        result += template[position : slot.start()]
        result += _filled(slot[1], slot[2], result, chance)
        position = slot.end()
    return result + template[position:]


def characters(alphabet: str, size: int, chance: random.Random) -> str:
    """Random characters; the first ones hold a digit and both cases where there are such."""
    pool = ALPHABETS[alphabet]
    sure = [c for c in "a7Q" if c in pool][:size]
    drawn = chance.choices(pool, k=size - len(sure))
    for character in sure:
        drawn.insert(chance.randint(0, len(drawn)), character)
    # An underscore or a dash at an end would be no part of a word.
    return "".join(drawn).replace("--", "-b").strip("_-").ljust(size, "5")


def _filled(kind: str, size: str | None, before: str, chance: random.Random) -> str:
    if size is not None:
        return characters(kind, int(size), chance)
    if kind in _CHECKSUMS:
        return _CHECKSUMS[kind](before)
    return _MADE[kind](chance)


def _bedrock(chance: random.Random) -> str:
    text = f"BedrockAPIKey-{characters('a', 4, chance)}-at-123456789012:"
    return base64.b64encode(text.ljust(48, "x").encode()).decode()


def _jwt(chance: random.Random) -> str:
    parts = ({"alg": "EdDSA", "typ": "JWT"}, {"sub": characters("w", 12, chance), "exp": 1})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in parts]
    return ".".join([*(part.rstrip("=") for part in encoded), characters("d", 86, chance)])


def _service_account(chance: random.Random) -> str:
    account = {
        "type": "service_account",
        "private_key_id": characters("h", 40, chance),
        "private_key": pem(chance),
        "client_email": "a@b.iam.gserviceaccount.com",
    }
    return json.dumps(account, indent=2)


def pem(chance: random.Random) -> str:
    """A fresh private key that protects nothing."""
    key = ed25519.Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _number(value: int, digits: str, width: int) -> str:
    text = ""
    for _ in range(width):
        value, digit = divmod(value, len(digits))
        text = digits[digit] + text
    return text


_BASE36 = string.digits + string.ascii_lowercase
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUMS: dict[str, Callable[[str], str]] = {
    "crc62": lambda before: _number(zlib.crc32(before.partition("_")[2].encode()), _BASE62, 6),
    "crc36": lambda before: _number(zlib.crc32(before.encode()), _BASE36, 7),
}
_MADE: dict[str, Callable[[random.Random], str]] = {
    "u": lambda chance: str(uuid.UUID(int=chance.getrandbits(128), version=4)),
    "openai": lambda _: base64.b64encode(b"OpenAI").decode(),
    "presigned": lambda _: base64.b64encode(
        b"bedrock.amazonaws.com/?Action=CallWithBearerToken&X-"
    ).decode(),
    "keylease": lambda chance: mint(ApiKeyKind.API, chance.randbytes),
    "keylease_ingest": lambda chance: mint(ApiKeyKind.INGEST, chance.randbytes),
    "bedrock": _bedrock,
    "jwt": _jwt,
    "private_key": pem,
    "service_account": _service_account,
}
