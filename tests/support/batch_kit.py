"""Files of batches, uploaded and started through a call path whose upstream answers by hand."""

from __future__ import annotations

import json

from tests.support.call_rig import CallRig, Sent, grant
from tests.support.eventually import eventually

from keylease.contracts.policy import ObjectAccess
from keylease.strongroom.gateway.interfaces import OwnedObject

FORM = (b"content-type", b"multipart/form-data; boundary=b")
CHAT = "/v1/chat/completions"
ALL = grant(objects=ObjectAccess.ALL)


def line(url: str = CHAT, **body: object) -> bytes:
    body = {"model": "gpt-4o", "messages": [], **body}
    outer = {"custom_id": "1", "method": "POST", "url": url, "body": body}
    return json.dumps(outer, separators=(",", ":"), ensure_ascii=False).encode()


def form(*lines: bytes, purpose: bytes = b"batch") -> bytes:
    return (
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n%b\r\n'
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n%b\r\n--b--\r\n"
    ) % (purpose, b"\n".join(lines))


def upload(
    rig: CallRig, *lines: bytes, lease: bytes | None = None, purpose: bytes = b"batch"
) -> Sent:
    data = form(*lines, purpose=purpose)
    call = rig.open(
        "POST", "/v1/files", headers=[FORM], lease=lease, length=len(data), has_body=True
    )
    for at in range(0, len(data), 50):
        call.handler.body_received(data[at : at + 50])
    if not call.status:
        call.handler.request_complete()
    return call


async def uploaded(rig: CallRig, *lines: bytes, name: str = "file-1", **options: bytes) -> None:
    """Upload a file and have it made."""
    count = len(rig.calls)
    call = upload(rig, *lines, **options)
    await eventually(lambda: call.status or (len(rig.calls) > count and rig.upstream.finished))
    assert not call.status, call.body
    rig.upstream.answer({"id": name})
    await eventually(lambda: call.finished)


def own(
    rig: CallRig, object_id: str, principal: str = "user:ada", held_by: str = "cred-openai"
) -> None:
    rig.link.objects[object_id] = OwnedObject(
        object_id=object_id,
        principal=principal,
        credential_id=held_by,
        purpose="development",
        environment="local",
    )
