"""The policy as a whole: its draft, its versions, and what waits for a second principal.

The draft has a number, which is the ETag of ``/v1/policy``; publishing names it with ``If-Match``.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response

from keylease.errors import InputInvalid
from keylease.platform.access.permissions import Permission
from keylease.platform.db.callers import Caller
from keylease.platform.db.paging import Page, PageRequest
from keylease.platform.policy.changes import PolicyCheck, PolicyDiff
from keylease.platform.policy.dry_run import DryRun
from keylease.platform.policy.keys import PolicyKey, PolicyKeyList
from keylease.platform.policy.publications import PolicyVersion, Proposal, ProposalState
from keylease.platform.policy.publishing import PolicyStanding
from keylease.platform.policy.resources import PolicyContents
from keylease.platform.policy.schemas import (
    DryRunBody,
    PolicySettings,
    PublishBody,
    RollbackBody,
    SettingsBody,
    answer_of,
    settings_of,
)
from keylease.platform.server.guard import allowed
from keylease.platform.server.requests import (
    Identifier,
    expected_version,
    page_request,
    set_version,
)
from keylease.platform.server.resources import resource_router
from keylease.platform.server.services import policy_of
from keylease.platform.server.shapes import answer, describes

router: APIRouter = resource_router(prefix="/v1/policy", tag="policy")
SHAPES: Final[tuple[Any, ...]] = (
    PolicyStanding,
    PolicyVersion,
    PolicyContents,
    PolicyDiff,
    PolicyCheck,
    PolicyKey,
    PolicyKeyList,
    Proposal,
    DryRun,
    Page[PolicyVersion],
    Page[Proposal],
)
Reader = Annotated[Caller, allowed(Permission.POLICY_READ)]
Manager = Annotated[Caller, allowed(Permission.POLICY_MANAGE)]
Publisher = Annotated[Caller, allowed(Permission.POLICY_PUBLISH)]
Approver = Annotated[Caller, allowed(Permission.POLICY_APPROVE)]
PageAsked = Annotated[PageRequest, page_request()]
Draft = Annotated[int, expected_version()]
Number = Annotated[str, Query(max_length=20, description='A version, "draft" or "published".')]
_ACCEPTED: Final = 202
_LONGEST: Final = 15
_OUTCOMES: Final = describes("PolicyVersion") | describes("Proposal", status=_ACCEPTED)


@router.get("", response_class=Response, responses=describes("PolicyStanding"))
async def read_policy(request: Request, caller: Reader) -> Response:
    """Say what is published, what the draft changes, whether that is wider, and what waits."""
    standing = await policy_of(request).publisher.standing(caller)
    return answer(standing, version=standing.draft)


@router.get("/settings")
async def read_settings(request: Request, response: Response, caller: Reader) -> PolicySettings:
    """Read what holds for the policy as a whole."""
    found = await policy_of(request).resources.settings(caller)
    set_version(response, found.version)
    return answer_of(found, PolicySettings)


@router.put("/settings")
async def change_settings(
    request: Request, response: Response, caller: Manager, body: SettingsBody, expected: Draft
) -> PolicySettings:
    """Say what holds for the policy as a whole, in the draft."""
    changed = await policy_of(request).resources.set_settings(
        caller, settings_of(body), expected=expected
    )
    set_version(response, changed.version)
    return answer_of(changed, PolicySettings)


@router.get("/check", response_class=Response, responses=describes("PolicyCheck"))
async def check_draft(request: Request, caller: Reader) -> Response:
    """Say everything that is wrong with the draft."""
    return answer(await policy_of(request).publisher.check(caller))


@router.get("/diff", response_class=Response, responses=describes("PolicyDiff"))
async def read_diff(
    request: Request, caller: Reader, before: Number = "published", after: Number = "draft"
) -> Response:
    """Say what differs between two versions, member by member, and in what it is wider."""
    publisher = policy_of(request).publisher
    one, two = await _number(request, caller, before), await _number(request, caller, after)
    return answer(await publisher.diff(caller, before=one, after=two))


@router.post("/dry-run", response_class=Response, responses=describes("DryRun"))
async def dry_run(request: Request, caller: Reader, body: DryRunBody) -> Response:
    """Say which calls of the last hours a policy would have refused, and why."""
    dry_runs = policy_of(request).dry_runs
    return answer(await dry_runs.run(caller, version=body.version, hours=body.hours))


@router.post("/publish", response_class=Response, responses=_OUTCOMES)
async def publish(
    request: Request, caller: Publisher, body: PublishBody, expected: Draft
) -> Response:
    """Publish the draft. 202: it allows more than before and waits for a second principal."""
    publisher = policy_of(request).publisher
    return _published(await publisher.publish(caller, expected=expected, note=body.note))


@router.post("/rollback", response_class=Response, responses=_OUTCOMES)
async def roll_back(
    request: Request, caller: Publisher, body: RollbackBody, expected: Draft
) -> Response:
    """Publish an earlier version's content again, as a new version."""
    return _published(
        await policy_of(request).publisher.roll_back(
            caller,
            to=body.version,
            expected=expected,
            note=body.note,
            discard=body.discard_draft,
        )
    )


@router.post("/discard", status_code=204)
async def discard(request: Request, caller: Manager, expected: Draft) -> None:
    """Make the draft what is published."""
    await policy_of(request).publisher.discard(caller, expected=expected)


@router.get("/versions", response_class=Response, responses=describes("Page_PolicyVersion_"))
async def list_versions(request: Request, caller: Reader, page: PageAsked) -> Response:
    """List what was published, by whom, the newest first."""
    return answer(await policy_of(request).publisher.versions(caller, page))


@router.get("/versions/{version}", response_class=Response, responses=describes("PolicyContents"))
async def read_version(
    request: Request, caller: Reader, version: Annotated[int, Path(ge=1, le=2**53)]
) -> Response:
    """Read everything that a published version consists of, by identifier."""
    _, contents = await policy_of(request).publisher.version(caller, version)
    return answer(contents)


@router.get("/proposals", response_class=Response, responses=describes("Page_Proposal_"))
async def list_proposals(
    request: Request, caller: Reader, page: PageAsked, state: ProposalState | None = None
) -> Response:
    """List what waits, or waited, for a second principal; the newest first."""
    publisher = policy_of(request).publisher
    return answer(await publisher.proposals(caller, page, state=state))


@router.get("/proposals/{proposal_id}", response_class=Response, responses=describes("Proposal"))
async def read_proposal(request: Request, caller: Reader, proposal_id: Identifier) -> Response:
    """Read one proposal."""
    return answer(await policy_of(request).publisher.proposal(caller, proposal_id))


@router.post("/proposals/{proposal_id}/approve", response_class=Response, responses=_OUTCOMES)
async def approve(request: Request, caller: Approver, proposal_id: Identifier) -> Response:
    """Decide for a proposal: its draft is published, or (202) its revocation lifted."""
    return _published(await policy_of(request).publisher.approve(caller, proposal_id))


@router.post(
    "/proposals/{proposal_id}/refuse", response_class=Response, responses=describes("Proposal")
)
async def refuse(request: Request, caller: Approver, proposal_id: Identifier) -> Response:
    """Decide against a proposal; the draft stays as it is."""
    return answer(await policy_of(request).publisher.refuse(caller, proposal_id))


@router.post(
    "/proposals/{proposal_id}/withdraw", response_class=Response, responses=describes("Proposal")
)
async def withdraw(request: Request, caller: Publisher, proposal_id: Identifier) -> Response:
    """Take one's own proposal back."""
    return answer(await policy_of(request).publisher.withdraw(caller, proposal_id))


@router.get("/keys", response_class=Response, responses=describes("PolicyKeyList"))
async def list_keys(request: Request, caller: Reader) -> Response:
    """List the keys that sign, or signed, this organization's bundles; the one in use first."""
    return answer(await policy_of(request).keys.keys(caller))


@router.post("/keys/rotate", response_class=Response, responses=describes("PolicyKey"))
async def rotate_key(request: Request, caller: Publisher) -> Response:
    """Let the policy key sign a new one, which signs from now on; gateways follow by themselves."""
    return answer(await policy_of(request).keys.rotate(caller))


async def _number(request: Request, caller: Caller, text: str) -> int | None:
    if text == "draft":
        return None
    if text == "published":
        return await policy_of(request).publisher.published_number(caller)
    if not (text.isascii() and text.isdigit() and len(text) <= _LONGEST):
        raise InputInvalid('A version is a number, "draft" or "published".')
    return int(text)


def _published(result: PolicyVersion | Proposal) -> Response:
    return answer(result, status=200 if isinstance(result, PolicyVersion) else _ACCEPTED)
