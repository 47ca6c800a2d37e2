"""Decides about gateways: who may enroll, what is known of them, and when one is put out of use."""

from __future__ import annotations

import hmac
import re
from collections.abc import Sequence
from typing import Final

import msgspec

from keylease.contracts import platform_link as wire
from keylease.contracts.audit import AuditAction
from keylease.contracts.bundles import fingerprint
from keylease.contracts.enrolment_codes import EnrolmentCode
from keylease.errors import (
    EnrolmentRefused,
    InputInvalid,
    LinkVersionUnsupported,
    ResourceConflict,
    ResourceNotFound,
)
from keylease.platform.db.callers import Caller, platform_itself
from keylease.platform.db.database import Database
from keylease.platform.db.paging import Page, PageRequest, page_of
from keylease.platform.db.transaction import Transaction
from keylease.platform.db.versions import check_version
from keylease.platform.gateways import repository
from keylease.platform.gateways.gateway import (
    CodeState,
    Gateway,
    GatewayState,
    GroupState,
    StoredCode,
)
from keylease.platform.gateways.interfaces import BundleSource
from keylease.platform.gateways.poll_hub import PollHub
from keylease.platform.gateways.proof import GatewayProof, SignedRequest, check_signature
from keylease.primitives.clock import MICROSECONDS

DEFAULT_CODE_SECONDS: Final = 3600
LONGEST_CODE_SECONDS: Final = 7 * 86_400
_GROUP: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY_BYTES: Final = 32
_CONNECTED: Final = 120 * MICROSECONDS
_KIND: Final = "enrolment_code"
_LONGEST_NAME: Final = 200


class MintedCode(msgspec.Struct, frozen=True):
    """A new code, with its text: shown once, stored nowhere."""

    stored: StoredCode
    text: str

    def __repr__(self) -> str:
        return f"MintedCode({self.stored.id})"


class GatewayService:
    """Used by routes and by the link."""

    def __init__(self, database: Database, bundles: BundleSource, hub: PollHub) -> None:
        self._database = database
        self._bundles = bundles
        self._hub = hub
        self._proof = GatewayProof(database)

    # --- enrolment -------------------------------------------------------------------------

    async def create_code(
        self, caller: Caller, *, group: str, lifetime: int = DEFAULT_CODE_SECONDS
    ) -> MintedCode:
        """Make a code by which one gateway joins a group. ``lifetime`` in seconds."""
        if not _GROUP.fullmatch(group):
            raise InputInvalid("A gateway group is named with letters, digits and . _ -")
        if not 0 < lifetime <= LONGEST_CODE_SECONDS:
            raise InputInvalid("An enrolment code lives for at most seven days.")
        key = fingerprint(await self._bundles.policy_key(caller.organization_id))
        async with self._database.transaction(caller) as tx:
            if await tx.created_before(_KIND) is not None:
                raise ResourceConflict(
                    "The code was made by this request before, and is shown once only.",
                    advice="Withdraw it and make another one.",
                )
            code = EnrolmentCode.mint(tx.new_id(), policy_key=key)
            stored = StoredCode(
                id=code.id,
                organization_id=caller.organization_id,
                group=group,
                digest=code.digest,
                created_by=caller.name,
                created_at=tx.now,
                expires_at=tx.now + lifetime * MICROSECONDS,
            )
            await repository.add_code(tx, stored)
            await tx.record(AuditAction.ENROLMENT_CODE_CREATED, code.id, details={"group": group})
            await tx.created(_KIND, code.id)
        return MintedCode(stored, code.text)

    async def codes(self, caller: Caller, page: PageRequest) -> Page[StoredCode]:
        """Codes of the organization, the newest first."""
        async with self._database.reading(caller) as tx:
            found = await repository.codes(tx, caller.organization_id, page)
        return page_of(found, page, key=lambda code: (code.id,))

    async def withdraw_code(self, caller: Caller, code_id: str) -> None:
        """Take a code back before somebody uses it."""
        async with self._database.transaction(caller) as tx:
            known = await repository.code(tx, code_id)
            if known is None or known.organization_id != caller.organization_id:
                raise ResourceNotFound("There is no such enrolment code.")
            if not await repository.withdraw_code(tx, caller.organization_id, code_id):
                raise ResourceConflict("The enrolment code was used or withdrawn before.")
            await tx.record(AuditAction.ENROLMENT_CODE_WITHDRAWN, code_id)

    async def enroll(
        self, asked: wire.EnrolmentRequest, request: SignedRequest
    ) -> wire.EnrolmentAnswer:
        """Register a gateway's key. Raises ``EnrolmentRefused`` and what ``GatewayProof`` does."""
        # 1. Whoever asks has the key that is to be registered.
        check_link_version(asked.link)
        if len(asked.public_key) != _KEY_BYTES or request.gateway_id != wire.ENROLLING:
            raise EnrolmentRefused("The request does not register an Ed25519 key.")
        check_signature(request, asked.public_key)
        # 2. The code is one of ours. Nothing is said about why it is not.
        code = EnrolmentCode.parse(asked.code)
        async with self._database.reading() as tx:
            stored = await repository.code(tx, code.id)
        if stored is None or not hmac.compare_digest(stored.digest, code.digest):
            raise _refused()
        # Only now: everybody has a key of their own, and would fill the table of nonces with it.
        await self._proof.check_fresh(request)
        # 3. It opens something, for this group. A code that does not is an alarm.
        key = await self._bundles.policy_key(stored.organization_id)
        caller = platform_itself(stored.organization_id)
        async with self._database.transaction(caller) as tx:
            gateway = self._new_gateway(tx, asked, stored)
            reason = _why_not(stored, asked, key, code, now=tx.now)
            if not reason and not await repository.use_code(tx, stored.id, gateway_id=gateway.id):
                reason = CodeState.USED.value
            if reason:
                await tx.record(
                    AuditAction.GATEWAY_ENROLMENT_REFUSED, stored.id, reason=f"code_{reason}"
                )
            else:
                await repository.add(tx, gateway)
                await tx.record(
                    AuditAction.GATEWAY_ENROLLED,
                    gateway.id,
                    details={"code": stored.id, "group": gateway.group},
                )
        if reason:
            raise _refused()
        return wire.EnrolmentAnswer(
            gateway_id=gateway.id,
            organization_id=gateway.organization_id,
            group=gateway.group,
            policy_key=key,
        )

    @staticmethod
    def _new_gateway(tx: Transaction, asked: wire.EnrolmentRequest, stored: StoredCode) -> Gateway:
        return Gateway(
            id=tx.new_id(),
            organization_id=stored.organization_id,
            group=stored.group,
            name=clean_name(asked.name),
            public_key=asked.public_key,
            enrolled_at=tx.now,
            enrolled_with=stored.id,
            link=asked.link,
            software=asked.software[:64],
        )

    # --- people ----------------------------------------------------------------------------

    async def page(self, caller: Caller, request: PageRequest, *, group: str) -> Page[Gateway]:
        """Gateways of the organization, by group."""
        async with self._database.reading(caller) as tx:
            found = await repository.page(tx, caller.organization_id, request, group=group)
        return page_of(found, request, key=repository.cursor_of)

    async def get(self, caller: Caller, gateway_id: str) -> Gateway:
        """One gateway. Raises ``ResourceNotFound``."""
        async with self._database.reading(caller) as tx:
            return await self._found(tx, gateway_id)

    async def rename(self, caller: Caller, gateway_id: str, name: str, *, expected: int) -> Gateway:
        """Change what people call a gateway."""
        async with self._database.transaction(caller) as tx:
            before = await self._found(tx, gateway_id)
            check_version(current=before.version, expected=expected)
            after = msgspec.structs.replace(
                before, name=clean_name(name), version=before.version + 1
            )
            await repository.set_name(tx, after)
            await tx.record(AuditAction.GATEWAY_RENAMED, gateway_id)
        return after

    async def revoke(self, caller: Caller, gateway_id: str, *, expected: int) -> Gateway:
        """Put a gateway out of use: it hears so at once, serves nothing and is heard no more."""
        async with self._database.transaction(caller) as tx:
            before = await self._found(tx, gateway_id)
            check_version(current=before.version, expected=expected)
            if before.state is GatewayState.REVOKED:
                raise ResourceConflict("The gateway was revoked before.")
            after = msgspec.structs.replace(
                before, revoked_at=tx.now, revoked_by=caller.name, version=before.version + 1
            )
            await repository.set_revoked(tx, after)
            await tx.record(AuditAction.GATEWAY_REVOKED, gateway_id)
            tx.after_commit(lambda: self._hub.wake(caller.organization_id))
        return after

    async def groups(self, caller: Caller) -> Sequence[GroupState]:
        """How each gateway group is doing."""
        async with self._database.reading(caller) as tx:
            gateways = await repository.enrolled(tx, caller.organization_id)
            now = tx.now
        by_group: dict[str, list[Gateway]] = {}
        for gateway in gateways:
            by_group.setdefault(gateway.group, []).append(gateway)
        return [_group_state(name, members, now) for name, members in by_group.items()]

    async def _found(self, tx: Transaction, gateway_id: str) -> Gateway:
        found = await repository.of_organization(tx, tx.caller.organization_id, gateway_id)
        if found is None:
            raise ResourceNotFound("There is no such gateway.")
        return found


def check_link_version(link: int) -> None:
    """Raise ``LinkVersionUnsupported`` unless this platform speaks that version of the link."""
    if not wire.OLDEST_LINK_VERSION <= link <= wire.LINK_VERSION + 1:
        raise LinkVersionUnsupported(
            f"This platform speaks version {wire.LINK_VERSION} of the link and the ones beside it.",
            advice="Update the older of the two: the gateway or the platform.",
        )


def clean_name(text: str) -> str:
    """A name for people; raises ``InputInvalid``."""
    name = text.strip()
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable():
        raise InputInvalid("A gateway's name has 1 to 200 printable characters.")
    return name


def _why_not(
    stored: StoredCode,
    asked: wire.EnrolmentRequest,
    policy_key: bytes,
    code: EnrolmentCode,
    *,
    now: int,
) -> str:
    state = stored.state(now)
    if state is not CodeState.OPEN:
        return state.value
    if asked.group != stored.group:
        return "group"
    # The key was changed since the code was made: the gateway would refuse every bundle.
    return "policy_key" if fingerprint(policy_key) != code.policy_key else ""


def _refused() -> EnrolmentRefused:
    return EnrolmentRefused(
        "The enrolment code does not open anything here.",
        advice="A code is good once, for a short time and one gateway group.",
    )


def _group_state(name: str, members: Sequence[Gateway], now: int) -> GroupState:
    version = max(gateway.policy_version for gateway in members)
    return GroupState(
        name=name,
        gateways=len(members),
        connected=sum(now - (gateway.last_seen or 0) <= _CONNECTED for gateway in members),
        lowest_link=min(gateway.link for gateway in members),
        policy_version=version,
        in_force=sum(gateway.policy_version == version for gateway in members),
        refusing=sum(
            gateway.report is not None and gateway.report.refused is not None for gateway in members
        ),
    )
