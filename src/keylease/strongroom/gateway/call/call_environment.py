"""What every call of a worker shares."""

from __future__ import annotations

from collections.abc import Callable

from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.call.accounting import PriceBook
from keylease.strongroom.gateway.call.admission import RevocationChecks
from keylease.strongroom.gateway.call.credentials import Authentications
from keylease.strongroom.gateway.call.routing import PolicyHolder
from keylease.strongroom.gateway.call.upload import KeptUploads
from keylease.strongroom.gateway.call.upstream_models import UpstreamModels
from keylease.strongroom.gateway.interfaces import CoordinatorLink


class CallEnvironment:
    """Handed to every exchange; holds nothing of a single call."""

    def __init__(
        self,
        *,
        limits: WireLimits,
        clock: Clock,
        link: CoordinatorLink,
        policy: PolicyHolder,
        revocations: RevocationChecks,
        tasks: TaskOwner,
        uniform: Callable[[], float],
    ) -> None:
        self.limits = limits
        self.clock = clock
        self.link = link
        self.policy = policy
        self.revocations = revocations
        self.tasks = tasks
        self.uniform = uniform
        self.authentications = Authentications(link)
        self.models = UpstreamModels(self.authentications, clock)
        self.prices = PriceBook(link, clock)
        self.kept_uploads = KeptUploads()
