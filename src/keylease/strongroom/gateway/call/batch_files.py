"""Batches whose requests are the lines of a file: what was found in it decides.

Protects: a batch is started only by a lease that is good for every model its file names, and the
    file lies where its model is served and the objects it names are. It draws from budgets what
    its lines may use at most.
Does not protect: what was not checked when it was uploaded; that takes a separate grant.
"""

from __future__ import annotations

from keylease.contracts.catalogue import WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.errors import ModelNotAllowed, ObjectNotAllowed, RequestMalformed
from keylease.strongroom.gateway.call import objects
from keylease.strongroom.gateway.call.batch_lines import BatchLines
from keylease.strongroom.gateway.call.bodies import JsonBody
from keylease.strongroom.gateway.call.choosing import Choice
from keylease.strongroom.gateway.call.routing import CompiledPolicy, Decision, ResolvedTarget
from keylease.strongroom.gateway.interfaces import BatchBound, CoordinatorLink
from keylease.strongroom.gateway.providers.interfaces import OBJECT_ID


async def choose_for_file(
    link: CoordinatorLink,
    policy: CompiledPolicy,
    claims: LeaseClaims,
    body: JsonBody,
    wire_format: WireFormat,
) -> Choice:
    """A batch of the requests in a file: by what was found in the file when it was uploaded.

    What was not looked at then may name any model and any object.
    """
    file_id = body.members.get("input_file_id")
    known = isinstance(file_id, str) and OBJECT_ID.fullmatch(file_id)
    owned = await link.find_object(str(file_id)) if known else None
    if owned is not None and owned.batch_models:
        model, *of_tools = owned.batch_models
        for further in of_tools:
            policy.decide(claims, further, wire_format)
        decision = policy.decide(claims, model, wire_format)
        serving = _serving_as_named(decision, model)
        return Choice(decision, model, serving, owned.batch_bound)
    decision = policy.decide_without_model(claims, wire_format, every_model=True)
    if not decision.objects_all:
        raise ObjectNotAllowed(
            "The lines of the batch's file were not checked by this gateway.",
            advice="Upload it here with the purpose 'batch', or ask for a grant with "
            'objects = "all" and models = ["*"].',
        )
    return Choice(decision, "")


def _serving_as_named(decision: Decision, model: str) -> set[str]:
    """The credentials whose provider knows ``model`` by this name; raises ``ModelNotAllowed``."""
    found = {t.credential.id for t in decision.targets if t.model in ("", model)}
    if not found:
        raise ModelNotAllowed(
            f"The route of '{model}' gives it another name, which the lines of a file keep.",
            advice="Name the model in the file as the provider does, and get a route for that.",
        )
    return found


class CheckedFile:
    """What is known of a file when all of its lines were looked at."""

    __slots__ = ("bound", "credential_ids", "models")

    def __init__(
        self, credential_ids: set[str], models: tuple[str, ...], bound: BatchBound
    ) -> None:
        self.credential_ids = credential_ids
        """Where it may go."""
        self.models = models
        """As ``OwnedObject.batch_models``: empty where it names what others made."""
        self.bound = bound
        """What a batch of it may use."""


async def check_file(
    link: CoordinatorLink, claims: LeaseClaims, lines: BatchLines, target: ResolvedTarget | None
) -> CheckedFile:
    """Whether a file may be on its way to ``target``; raises ``AccessDenied``."""
    decision = lines.decision
    if decision is None:
        raise RequestMalformed("The batch's file has no lines.")
    # 1. Its model is served there by this name.
    serving = _serving_as_named(decision, lines.model)
    # 2. The objects it names are there, and the caller may use them.
    located = await objects.locate(link, claims, decision, tuple(lines.object_ids), many=True)
    serving.intersection_update(found.credential.id for found in located.targets)
    if target is None or target.credential.id not in serving:
        raise ModelNotAllowed(
            f"The file went to a credential that does not serve its model '{lines.model}'.",
            advice="Upload it with a lease that names only this model.",
        )
    return CheckedFile(serving, lines.models if located.own else (), lines.bound)
