"""What every call of a worker shares."""

from __future__ import annotations

from collections.abc import Callable

from keylease.primitives.clock import Clock
from keylease.primitives.tasks import TaskOwner
from keylease.strongroom.configuration import WireLimits
from keylease.strongroom.gateway.accounting import PriceBook
from keylease.strongroom.gateway.admission import RevocationChecks
from keylease.strongroom.gateway.credentials import Authentications
from keylease.strongroom.gateway.interfaces import CoordinatorLink
from keylease.strongroom.gateway.routing import PolicyHolder


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
        self.prices = PriceBook(link, clock)
