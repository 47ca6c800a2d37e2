"""Answers gateways: who asks is proven first, then policy goes out and records come in.

Promise: what a push is answered with is durable. A poll is answered as soon as there is something
    that the gateway does not have, or when it has waited for as long as it wished.
Protects: a gateway gets the bundle of its own group and puts records under its own organization,
    whatever it claims. What it says of versions of secrets counts for credentials of its group: or
    else one gateway could have another's credential refused as too old.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import Final, TypeVar

import msgspec

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction
from keylease.contracts.bundles import SignedBundle
from keylease.errors import GatewayRevoked, PolicyKeyUnavailable, RequestMalformed
from keylease.platform.db.database import Database
from keylease.platform.gateways import repository
from keylease.platform.gateways.gateway import Gateway, GatewayState
from keylease.platform.gateways.interfaces import (
    AuditEntries,
    BundleSource,
    CallRecords,
    CredentialFingerprints,
    WitnessedLog,
)
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.gateways.proof import GatewayProof, SignedRequest
from keylease.platform.gateways.service import GatewayService, check_link_version
from keylease.primitives.clock import Clock

_WITNESS_SECONDS: Final = 5.0
"""A poll that has a newer checkpoint to bring waits no longer than this."""
_LONGEST_TEXT: Final = 200
_MOST_ITEMS: Final = 1000
_LARGEST_NUMBER: Final = 2**53
_NUL: Final = b"\\u0000"
"""As JSON writes it. PostgreSQL keeps no text with it, and no gateway of ours sends it."""

Asked = TypeVar("Asked", bound=msgspec.Struct)


class LinkService:
    """One per server process."""

    def __init__(  # noqa: PLR0913 - the domains it joins, by keyword
        self,
        database: Database,
        *,
        gateways: GatewayService,
        bundles: BundleSource,
        audit: AuditEntries,
        records: CallRecords,
        log: WitnessedLog,
        fingerprints: CredentialFingerprints,
        hub: PollHub,
        clock: Clock,
        same_machine: bool = False,
    ) -> None:
        """``same_machine``: gateways run where the platform does, so they witness nothing."""
        self._database = database
        self._gateways = gateways
        self._bundles = bundles
        self._audit = audit
        self._records = records
        self._log = log
        self._fingerprints = fingerprints
        self._hub = hub
        self._clock = clock
        self._same_machine = same_machine
        self._proof = GatewayProof(database)
        self._ahead: set[tuple[str, int]] = set()
        self._credentials: dict[tuple[str, str], tuple[str, frozenset[str]]] = {}
        """Organization and group -> digest of its last bundle, and the credentials in it."""

    # --- what gateways ask; each takes the request as it came --------------------------------

    async def expect(self, gateway_id: str) -> None:
        """Raise ``GatewayNotProven`` or ``GatewayRevoked`` for whose large body is not read."""
        await self._proof.known(gateway_id)

    async def enroll(self, request: SignedRequest) -> wire.EnrolmentAnswer:
        """Register a gateway."""
        asked = _read_json(request.body, wire.EnrolmentRequest)
        return await self._gateways.enroll(asked, request)

    async def poll(self, request: SignedRequest) -> wire.PollAnswer:
        """Take a gateway's report, and answer when there is something new for it."""
        gateway = await self._proof.gateway(request)
        report = _bounded(_read_json(request.body, wire.PollRequest))
        check_link_version(report.link)
        async with self._database.transaction(gateway.caller) as tx:
            await repository.set_report(tx, gateway.id, report)
        loop = asyncio.get_running_loop()
        began = loop.time()
        wait = min(max(report.wait_seconds, 0.0), wire.LONGEST_WAIT)
        while True:
            with self._hub.listening(gateway.organization_id) as news:
                # 1. What there is now. Whatever changes after this wakes us below.
                bundle = await self._newer_bundle(gateway, report)
                offer = None if bundle is not None else await self._offer(gateway, report)
                longest = wait if offer is None else min(wait, _WITNESS_SECONDS)
                left = began + longest - loop.time()
                if bundle is not None or left <= 0 or self._hub.closed:
                    return wire.PollAnswer(now=self._clock.now(), bundle=bundle, checkpoint=offer)
                # 2. Wait for news.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await news.wait()
            # 3. The news may be that this gateway is out of use.
            await self._check_enrolled(gateway.id)

    async def push_call_records(self, request: SignedRequest) -> wire.PushAnswer:
        """Take call records; they are durable when this returns."""
        gateway = await self._proof.gateway(request)
        push = _read_msgpack(request.body, wire.CallRecordPush)
        check_link_version(push.link)
        served = await self._served(gateway)
        return await self._records.accept(gateway.caller, gateway.id, push, served=served)

    async def push_audit_entries(self, request: SignedRequest) -> wire.PushAnswer:
        """Take audit entries; they are durable when this returns."""
        gateway = await self._proof.gateway(request)
        push = _read_msgpack(request.body, wire.AuditPush)
        check_link_version(push.link)
        taken = await self._audit.accept(gateway.caller, gateway.id, push.entries)
        served = await self._served(gateway)
        await self._records.note_fetches(gateway.caller, push.entries, served=served)
        return wire.PushAnswer(
            taken=taken.taken,
            duplicates=taken.duplicates,
            set_aside=taken.set_aside,
            gap=taken.gap,
        )

    async def push_cosignature(self, request: SignedRequest) -> wire.PushAnswer:
        """Take a witness's signature. A gateway has one witness key, its first."""
        gateway = await self._proof.gateway(request)
        cosigned = _read_json(request.body, wire.Cosignature)
        check_link_version(cosigned.link)
        if gateway.witness_key not in ("", cosigned.witness_key):
            raise RequestMalformed(
                "This gateway witnesses with another key than before.",
                advice="If its witness directory was lost, enroll the gateway again.",
            )
        await self._log.accept(
            gateway.caller,
            gateway.id,
            size=cosigned.size,
            line=cosigned.line,
            key=cosigned.witness_key,
            independent=not self._same_machine,
        )
        if not gateway.witness_key:
            async with self._database.transaction(gateway.caller) as tx:
                await repository.set_witness_key(tx, gateway.id, cosigned.witness_key)
        return wire.PushAnswer(taken=1)

    async def push_fingerprints(self, request: SignedRequest) -> wire.PushAnswer:
        """Take by what the secrets of the gateway's credentials are recognised."""
        gateway = await self._proof.gateway(request)
        push = _read_json(request.body, wire.FingerprintPush)
        check_link_version(push.link)
        served = await self._served(gateway)
        return await self._fingerprints.accept(gateway.caller, gateway.id, push, served=served)

    # --- how -------------------------------------------------------------------------------

    async def _served(self, gateway: Gateway) -> frozenset[str]:
        """The credentials of its group. Of no other can it know which versions there are."""
        name = (gateway.organization_id, gateway.group)
        known = self._credentials.get(name)
        try:
            signed = await self._bundles.bundle(*name)
        except PolicyKeyUnavailable:  # records are taken all the same
            signed = None
        if signed is not None and (known is None or known[0] != signed.digest):
            carried = msgspec.json.decode(signed.payload, type=_Carried).credentials
            known = (signed.digest, frozenset(one.id for one in carried))
            self._credentials[name] = known
        return known[1] if known is not None else frozenset()

    async def _newer_bundle(
        self, gateway: Gateway, report: wire.PollRequest
    ) -> SignedBundle | None:
        signed = await self._bundles.bundle(gateway.organization_id, gateway.group)
        if signed is None:
            return None
        version = _version(signed)
        if report.highest_version > version:
            await self._found_ahead(gateway, report.highest_version)
        refused = report.refused.digest if report.refused is not None else ""
        return None if signed.digest in {report.in_force.digest, refused} else signed

    async def _found_ahead(self, gateway: Gateway, version: int) -> None:
        if (gateway.id, version) in self._ahead:
            return
        self._ahead.add((gateway.id, version))
        async with self._database.transaction(gateway.caller) as tx:
            await tx.record(
                AuditAction.GATEWAY_FOUND_AHEAD, gateway.id, details={"version": str(version)}
            )
        await self._bundles.gateway_is_ahead(gateway.organization_id, gateway.group, version)

    async def _offer(
        self, gateway: Gateway, report: wire.PollRequest
    ) -> wire.CheckpointOffer | None:
        witnessed = report.witnessed.size
        offer = await self._log.offer(gateway.organization_id, witnessed=witnessed)
        if offer is None or (offer.size == witnessed and offer.origin == report.witnessed.origin):
            return None
        return wire.CheckpointOffer(
            origin=offer.origin,
            size=offer.size,
            checkpoint=offer.checkpoint,
            old_size=offer.old_size,
            proof=offer.proof,
            log_key=offer.log_key,
            rotations=offer.rotations,
        )

    async def _check_enrolled(self, gateway_id: str) -> None:
        async with self._database.reading() as tx:
            found = await repository.by_id(tx, gateway_id)
        if found is None or found.state is GatewayState.REVOKED:
            raise GatewayRevoked("This gateway was revoked.")


class _Named(msgspec.Struct, frozen=True):
    id: str


class _Carried(msgspec.Struct, frozen=True):
    credentials: tuple[_Named, ...] = ()


class _Versioned(msgspec.Struct, frozen=True):
    version: int


def _version(signed: SignedBundle) -> int:
    return msgspec.json.decode(signed.payload, type=_Versioned).version


def _bounded(report: wire.PollRequest) -> wire.PollRequest:
    """A report as it is kept: whatever a gateway says of itself has an end."""
    numbers = (report.in_force.version, report.highest_version, report.witnessed.size)
    if not all(0 <= number < _LARGEST_NUMBER for number in numbers):
        raise _malformed()
    objections = tuple(
        wire.Objection(object_id=item.object_id[:_LONGEST_TEXT], code=item.code[:_LONGEST_TEXT])
        for item in report.objections[:_MOST_ITEMS]
    )
    return msgspec.structs.replace(report, objections=objections)


def _read_json(body: bytes, kind: type[Asked]) -> Asked:
    if _NUL in body:
        raise _malformed()
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed() from error


def _read_msgpack(body: bytes, kind: type[Asked]) -> Asked:
    try:
        return msgspec.msgpack.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _malformed() from error


def _malformed() -> RequestMalformed:
    return RequestMalformed(
        "The request is not of the link's form.",
        advice="Compare the versions of the gateway and of the platform.",
    )
