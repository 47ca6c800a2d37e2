"""AWS: ``sts:GetCallerIdentity`` for a pair of access key id and secret key.

It needs no permission and cannot be denied by one. Signed here (Signature Version 4), so that
neither the AWS libraries nor their configuration of hosts, proxies and profiles take part.

Source: docs.aws.amazon.com, STS API reference; IAM user guide, "Create a signed AWS API request".
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import msgspec

from keylease.contracts.findings import Belonging
from keylease.primitives.clock import MICROSECONDS
from keylease.strongroom.secrets import Secret
from keylease.strongroom.verification.checks.interfaces import (
    USE,
    Answer,
    Found,
    NotAsked,
    Request,
    by_status,
    dead,
    live,
)

_BODY: Final = b"Action=GetCallerIdentity&Version=2011-06-15"
_REGION: Final = "us-east-1"
"""That of the global endpoint."""
_LONG_TERM: Final = re.compile(r"AKIA[A-Z2-7]{16}")
_ARN: Final = re.compile(r"<Arn>([^<]{1,300})</Arn>")
_ACCOUNT: Final = re.compile(r"<Account>([0-9]{12})</Account>")
_CODE: Final = re.compile(r"<Code>([A-Za-z]{1,60})</Code>")
_DEAD: Final = {
    "InvalidClientTokenId": "AWS knows no such active access key.",
    "SignatureDoesNotMatch": "The secret key does not belong to the access key id beside it.",
}


class AWS(msgspec.Struct, frozen=True):
    """Long-term pairs: a temporary one needs its session token too."""

    provider: str = "aws"
    title: str = "AWS"
    kinds: tuple[str, ...] = ("aws-secret-access-key",)
    origins: tuple[str, ...] = ("https://sts.amazonaws.com",)
    self_hosted: bool = False

    def request(self, secret: Secret, key_id: str, *, origin: str, now: int) -> Request | NotAsked:
        """One signed POST."""
        if not key_id:
            return NotAsked("Its access key id was not found beside it.")
        if not _LONG_TERM.fullmatch(key_id):
            return NotAsked("A temporary key is tried together with its session token only.")
        value = secret.reveal(why=USE)
        return Request("/", _signed(urlsplit(origin).netloc, key_id, value, now), "POST", _BODY)

    def read(self, answer: Answer) -> Found:
        """The ARN says who; errors say what is wrong with the pair."""
        arn, account = _ARN.search(answer.text), _ACCOUNT.search(answer.text)
        if answer.status == HTTPStatus.OK and arn is not None and account is not None:
            return live(Belonging(account=arn[1], organization=account[1]))
        code = _CODE.search(answer.text)
        if code is not None and code[1] in _DEAD:
            return dead(_DEAD[code[1]])
        return by_status(answer, as_expected=False)


def _signed(host: str, key_id: str, secret: bytes, now: int) -> dict[str, str]:
    """The fields of the request, with its signature."""
    moment = datetime.fromtimestamp(now // MICROSECONDS, tz=UTC)
    stamp, day = f"{moment:%Y%m%dT%H%M%SZ}", f"{moment:%Y%m%d}"
    fields = {
        "content-type": "application/x-www-form-urlencoded; charset=utf-8",
        "host": host,
        "x-amz-date": stamp,
    }
    names = ";".join(fields)
    # 1. The request in its canonical form: method, path, query, fields, their names, body's hash.
    lines = [f"{name}:{value}" for name, value in fields.items()]
    canonical = "\n".join(["POST", "/", "", *lines, "", names, hashlib.sha256(_BODY).hexdigest()])
    # 2. What is signed.
    scope = f"{day}/{_REGION}/sts/aws4_request"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
    # 3. The key of this day, region and service.
    key = b"AWS4" + secret
    for part in (day, _REGION, "sts", "aws4_request"):
        key = hmac.digest(key, part.encode(), hashlib.sha256)
    # 4. The signature.
    signature = hmac.digest(key, text.encode(), hashlib.sha256).hex()
    del fields["host"]  # the client sends it
    credential = f"Credential={key_id}/{scope}"
    return {
        **fields,
        "authorization": f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, "
        f"Signature={signature}",
    }


CHECKS: Final = (AWS(),)
