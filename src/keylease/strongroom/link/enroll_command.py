"""`keylease gateway enroll CODE`: registers this gateway's key with the platform of gateway.toml.

The code comes on standard input, so that it stands in no process list. A running gateway notices
the enrolment by itself within a second.

Protects: nothing is stored unless the platform proves the policy key whose fingerprint the code
    names; a key that gateway.toml pins must be that one too.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import keylease
from keylease.contracts import platform_link as wire
from keylease.contracts.bundles import fingerprint
from keylease.contracts.enrolment_codes import EnrolmentCode
from keylease.errors import ConfigurationError, EnrolmentRefused, PlatformRefused
from keylease.primitives import files
from keylease.primitives.clock import Clock, SystemClock
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.configuration import GatewayConfiguration
from keylease.strongroom.link.client import LinkClient
from keylease.strongroom.link.enrolment import Enrolment, EnrolmentFiles, link_directory

_MAXIMUM_INPUT: Final = 1024
_LOCK_SECONDS: Final = 10.0


def main(arguments: Sequence[str]) -> int:
    """Read the code, enroll, and print what was agreed as one line of JSON."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--gateway-file", type=Path, required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--name", default="")
    options = parser.parse_args(arguments)
    code = EnrolmentCode.parse(sys.stdin.read(_MAXIMUM_INPUT))
    directory = link_directory(options.data_dir / "strongroom")
    files.make_private_directory(directory)
    with files.locked(directory / "lock", seconds=_LOCK_SECONDS):
        enrolment = asyncio.run(
            enroll(
                code,
                configuration=load_gateway(options.gateway_file),
                directory=directory,
                name=options.name or socket.gethostname(),
                clock=SystemClock(),
            )
        )
    json.dump(
        {
            "gateway_id": enrolment.gateway_id,
            "organization_id": enrolment.organization_id,
            "group": enrolment.group,
            "url": enrolment.url,
            "policy_key": enrolment.policy_key_fingerprint,
        },
        sys.stdout,
    )
    sys.stdout.write("\n")
    return 0


async def enroll(
    code: EnrolmentCode,
    *,
    configuration: GatewayConfiguration,
    directory: Path,
    name: str,
    clock: Clock,
) -> Enrolment:
    """Make a key, register it, store both. Raises ``LinkError`` and its kinds."""
    # 1. Where to, and whose policy: both are fixed before anybody is asked.
    settings = configuration.platform
    if settings is None:
        raise ConfigurationError(
            "gateway.toml names no platform.",
            advice='Write: [platform] and, in it, url = "https://keylease.example.com"',
        )
    if settings.policy_key and settings.policy_key != code.policy_key:
        raise EnrolmentRefused(
            "The code names another policy key than gateway.toml.",
            advice="Get a code from the platform that gateway.toml names, or correct policy_key.",
        )
    # 2. A key of its own for every enrolment.
    key = Ed25519PrivateKey.generate()
    request = wire.EnrolmentRequest(
        code=code.text,
        public_key=key.public_key().public_bytes_raw(),
        name=name[:200],
        group=configuration.group,
        software=keylease.__version__,
    )
    try:
        async with LinkClient(settings, key=key, gateway_id=wire.ENROLLING, clock=clock) as client:
            answer = await client.enroll(request)
    except PlatformRefused as error:
        raise EnrolmentRefused(
            f"The platform refuses the enrolment: {error.reason}.",
            advice="A code is good once, for a short time and one gateway group. Get a new one.",
        ) from error
    # 3. Whoever answered must be whom the code meant.
    if fingerprint(answer.policy_key) != code.policy_key:
        raise EnrolmentRefused(
            "What answered has another policy key than the code names. Nothing was stored.",
            advice="Somebody may stand between this gateway and the platform.",
        )
    if answer.group != configuration.group:
        raise EnrolmentRefused("The platform enrolled this gateway into another group.")
    # 4. Only now.
    enrolment = Enrolment(
        url=settings.url,
        gateway_id=answer.gateway_id,
        organization_id=answer.organization_id,
        group=answer.group,
        policy_key=answer.policy_key,
        enrolled_at=clock.now(),
    )
    EnrolmentFiles(directory).write(enrolment, key)
    return enrolment
