"""Policy and bindings, compiled into what one worker looks up.

Protects: a lease reaches a credential only if a grant, a route, the credential itself and a binding
    of this gateway all allow it, each for the same purpose and environment. An eval lease never
    reaches a secret that any credential of the policy uses for production.
Does not protect: against a secret that two different references lead to; references are compared,
    not secrets.
Limits: decisions are remembered for a lease and a model until the policy changes. Expiry and
    revocations are not part of them and are checked on every request.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from keylease.contracts.catalogue import CATALOGUE, Provider, WireFormat
from keylease.contracts.leases import LeaseClaims
from keylease.contracts.patterns import matches, patterns_meet
from keylease.contracts.policy import (
    Budget,
    BudgetPeriod,
    ContentRecording,
    Credential,
    Grant,
    ObjectAccess,
    PolicyBundle,
    Route,
    Strategy,
    Target,
)
from keylease.contracts.purposes import Purpose
from keylease.contracts.references import Reference
from keylease.errors import (
    AccessDenied,
    BindingMissing,
    KeyleaseError,
    LeaseForeign,
    ModelNotAllowed,
    PurposeNotAllowed,
    ReferenceInvalid,
)
from keylease.primitives.http1.interfaces import Pool
from keylease.strongroom.bindings import Bindings
from keylease.strongroom.configuration import Binding, GatewayConfiguration
from keylease.strongroom.gateway.call.upstreams import Endpoint, Upstreams, read_base_url
from keylease.strongroom.gateway.interfaces import Demand, LimitKey, LimitKind, LimitWindow

_DECISIONS_KEPT: Final = 20_000


class ResolvedTarget:
    """A credential that one lease may use for one model, with everything that is needed to."""

    __slots__ = ("binding", "bounds", "credential", "model", "pool", "prefix", "provider", "weight")

    def __init__(
        self,
        *,
        credential: Credential,
        provider: Provider,
        binding: Binding,
        prefix: str,
        pool: Pool,
        target: Target,
    ) -> None:
        self.bounds: tuple[Bound, ...] = ()
        """What every call draws from."""
        self.credential = credential
        self.provider = provider
        self.binding = binding
        self.prefix = prefix
        """Path of the upstream's base URL, without a slash at its end."""
        self.pool = pool
        self.model = target.model
        """The model's name at the provider; empty keeps the caller's."""
        self.weight = target.weight


class Bound:
    """A limit that a call draws from."""

    __slots__ = ("capacity", "key", "kind", "one")

    def __init__(self, key: LimitKey, capacity: int, one: Demand | None = None) -> None:
        self.key: Final = key
        self.kind: Final = key.kind
        self.capacity: Final = capacity
        self.one: Final = one
        """What every call draws where requests are counted; otherwise it depends on the call."""


_WINDOWS: Final = {
    BudgetPeriod.DAY: LimitWindow.DAY,
    BudgetPeriod.MONTH: LimitWindow.MONTH,
    BudgetPeriod.TOTAL: LimitWindow.TOTAL,
}


def _bounds(
    grants: Iterable[Grant], budgets: Iterable[Budget], binding: Binding
) -> tuple[Bound, ...]:
    found = []
    for grant in grants:
        limits = grant.limits
        for kind, window, capacity in (
            (LimitKind.REQUESTS, LimitWindow.MINUTE, limits.requests_per_minute),
            (LimitKind.TOKENS, LimitWindow.MINUTE, limits.tokens_per_minute),
            (LimitKind.MICRO_USD, _WINDOWS[limits.budget_period], limits.budget_micro_usd),
        ):
            if capacity is not None:
                key = LimitKey(grant.id, kind, window)
                one = Demand(key, capacity, 1) if kind is LimitKind.REQUESTS else None
                found.append(Bound(key, capacity, one))
    for budget in budgets:
        key = LimitKey(budget.id, LimitKind.MICRO_USD, _WINDOWS[budget.period])
        found.append(Bound(key, budget.micro_usd))
    if binding.maximum_micro_usd_per_day is not None:
        key = LimitKey(binding.id, LimitKind.MICRO_USD, LimitWindow.DAY)
        found.append(Bound(key, binding.maximum_micro_usd_per_day))
    return tuple(found)


class Decision:
    """What a lease may do with one model, or without one."""

    __slots__ = ("capture", "claims", "grant", "objects_all", "targets", "weighted")

    def __init__(
        self,
        *,
        claims: LeaseClaims,
        grants: tuple[Grant, ...],
        limits_of: tuple[Grant, ...],
        budgets: tuple[Budget, ...],
        targets: tuple[ResolvedTarget, ...],
        weighted: bool,
    ) -> None:
        """``limits_of`` and ``budgets``: what every call of this decision draws from."""
        self.claims = claims
        self.grant = grants[0]
        """The first grant of the policy that allows it; its limits are the ones that count."""
        for target in targets:
            target.bounds = _bounds(limits_of, budgets, target.binding)
        self.capture = self.grant.content is ContentRecording.MASKED
        self.objects_all = any(grant.objects is ObjectAccess.ALL for grant in grants)
        self.targets = targets
        self.weighted = weighted

    def in_order(self, uniform: Callable[[], float]) -> tuple[ResolvedTarget, ...]:
        """The targets in the order in which this call tries them."""
        if not self.weighted or len(self.targets) == 1:
            return self.targets
        left = list(self.targets)
        ordered = []
        while left:
            total = sum(max(target.weight, 0) for target in left)
            point = uniform() * total
            index = len(left) - 1
            for candidate, target in enumerate(left):
                point -= max(target.weight, 0)
                if point < 0:
                    index = candidate
                    break
            ordered.append(left.pop(index))
        return tuple(ordered)


class CompiledPolicy:
    """One version of the policy."""

    def __init__(self, bundle: PolicyBundle, bindings: Bindings, upstreams: Upstreams) -> None:
        self.version = bundle.version
        self.organization_id = bundle.organization_id
        self._grants = bundle.grants
        self._routes = bundle.routes
        self._credentials = {credential.id: credential for credential in bundle.credentials}
        self._budgets = {budget.id: budget for budget in bundle.budgets}
        self._production = _production_references(bundle.credentials)
        self._bindings = bindings
        self._upstreams = upstreams
        self._decisions: dict[tuple[str, str, WireFormat], Decision] = {}

    def decide(self, claims: LeaseClaims, model: str, wire_format: WireFormat) -> Decision:
        """What the lease may do with ``model``. Raises ``AccessDenied`` with the reason."""
        key = (claims.jti, model, wire_format)
        decision = self._decisions.get(key)
        # The very claims, and not just another lease with the same identifier.
        if decision is not None and decision.claims is claims:
            return decision
        decision = self._decide(claims, model, wire_format)
        if len(self._decisions) >= _DECISIONS_KEPT:
            self._decisions.clear()
        self._decisions[key] = decision
        return decision

    def _decide(self, claims: LeaseClaims, model: str, wire_format: WireFormat) -> Decision:
        # 1. The lease itself.
        if not _any_matches(claims.models, model):
            raise ModelNotAllowed(
                f"The lease is not good for the model '{model}'.",
                advice="Get a lease that names it.",
            )
        # 2. The grants.
        grants = tuple(
            grant for grant in self._grants_of(claims) if _any_matches(grant.models, model)
        )
        if not grants:
            raise ModelNotAllowed(f"No grant allows you the model '{model}'.")
        # 3. A route, and on it at least one credential that this lease may use.
        reason: KeyleaseError | None = None
        for route in self._routes:
            if not _any_matches(route.models, model):
                continue
            targets, refused = self._usable(claims, route, wire_format)
            if targets:
                return self._decision(claims, grants, targets, route)
            reason = reason or refused
        raise reason or ModelNotAllowed(
            f"No route of this gateway leads to the model '{model}'.",
            advice="GET /v1/models lists what your lease may use.",
        )

    def decide_without_model(
        self, claims: LeaseClaims, wire_format: WireFormat, *, every_model: bool = False
    ) -> Decision:
        """What the lease may do where no model is named: files, batches, stored responses.

        The targets are those of all routes that the lease could use for some model.
        ``every_model`` asks for a lease and a grant that are not limited to some models.
        """
        grants = self._grants_of(claims)
        if every_model:
            if "*" not in claims.models:
                grants = ()
            grants = tuple(grant for grant in grants if "*" in grant.models)
            if not grants:
                raise ModelNotAllowed(
                    "The lines of the batch's file were not checked by this gateway and may name "
                    "any model; your lease and grant do not allow every one.",
                    advice="Upload the file here with the purpose 'batch'.",
                )
        reason: KeyleaseError | None = None
        found: dict[str, ResolvedTarget] = {}
        reaching: dict[str, Grant] = {}
        for route in self._routes:
            on_route = [g for g in grants if patterns_meet(claims.models, g.models, route.models)]
            if not on_route:
                continue
            targets, refused = self._usable(claims, route, wire_format)
            reason = reason or refused
            for target in targets:
                found.setdefault(target.credential.id, target)
            if targets:
                reaching.update({grant.id: grant for grant in on_route})
        if not found:
            raise reason or ModelNotAllowed("No route of this gateway is open to your lease.")
        in_order = tuple(grant for grant in grants if grant.id in reaching)
        return self._decision(claims, in_order, tuple(found.values()), None)

    def models(self, claims: LeaseClaims, wire_format: WireFormat) -> tuple[str, ...]:
        """The models that the lease may use, as far as they have names."""
        names: dict[str, None] = {}
        for patterns in self._named(claims):
            for name in patterns:
                if name and "*" not in name:
                    names[name] = None
        return tuple(sorted(name for name in names if self.allows(claims, name, wire_format)))

    def open_routes(
        self, claims: LeaseClaims, wire_format: WireFormat
    ) -> tuple[tuple[tuple[str, ...], tuple[ResolvedTarget, ...]], ...]:
        """Patterns and usable targets of the routes that the lease can use, in their order."""
        grants = self._grants_of(claims)
        found = []
        for route in self._routes:
            if any(patterns_meet(claims.models, g.models, route.models) for g in grants):
                targets, _ = self._usable(claims, route, wire_format)
                if targets:
                    found.append((route.models, targets))
        return tuple(found)

    def covers(self, claims: LeaseClaims, model: str) -> bool:
        """Whether lease and grants name ``model``; not whether a route leads to it."""
        return _any_matches(claims.models, model) and any(
            _any_matches(grant.models, model) for grant in self._grants_of(claims)
        )

    def _named(self, claims: LeaseClaims) -> Iterator[Iterable[str]]:
        yield claims.models
        for grant in self._grants_of(claims):
            yield grant.models
        for route in self._routes:
            yield route.models
            yield (target.model for target in route.targets)

    def allows(self, claims: LeaseClaims, model: str, wire_format: WireFormat) -> bool:
        """Whether ``decide`` would allow it."""
        try:
            self.decide(claims, model, wire_format)
        except AccessDenied:
            return False
        return True

    def _decision(
        self,
        claims: LeaseClaims,
        grants: tuple[Grant, ...],
        targets: tuple[ResolvedTarget, ...],
        route: Route | None,
    ) -> Decision:
        limits_of: tuple[Grant, ...] = (grants[0],)
        if claims.budget and claims.budget != grants[0].id:
            extra = [grant for grant in self._grants if grant.id == claims.budget]
            if not extra:
                raise AccessDenied(
                    "The budget of the lease is not part of the policy any more.",
                    advice="Get a new lease.",
                )
            limits_of = (grants[0], extra[0])
        return Decision(
            claims=claims,
            grants=grants,
            limits_of=limits_of,
            budgets=self._shared_budgets(limits_of),
            targets=targets,
            weighted=route is not None and route.strategy is Strategy.WEIGHTED,
        )

    def _shared_budgets(self, grants: tuple[Grant, ...]) -> tuple[Budget, ...]:
        """The budgets that these grants name, each once."""
        found: dict[str, Budget] = {}
        for grant in grants:
            for name in grant.budgets:
                if name not in self._budgets:
                    raise AccessDenied(
                        "Your grant draws from a budget that is not part of the policy.",
                        advice="Whoever writes the policy has to correct the grant.",
                    )
                found[name] = self._budgets[name]
        return tuple(found.values())

    def _grants_of(self, claims: LeaseClaims) -> tuple[Grant, ...]:
        """The grants for this principal, purpose and environment; raises when there is none."""
        if claims.organization != self.organization_id:
            raise LeaseForeign("The lease belongs to another organization.")
        grants = [grant for grant in self._grants if _any_matches(grant.principals, claims.sub)]
        if not grants:
            raise AccessDenied("No grant names you.", advice="Ask for a grant in the policy.")
        grants = [grant for grant in grants if claims.purpose in grant.purposes]
        if not grants:
            raise PurposeNotAllowed(
                f"No grant allows you the purpose '{claims.purpose.value}' of your lease."
            )
        grants = [grant for grant in grants if _any_matches(grant.environments, claims.environment)]
        if not grants:
            raise AccessDenied(
                f"No grant allows you the environment '{claims.environment}' of your lease."
            )
        return tuple(grants)

    def _usable(
        self, claims: LeaseClaims, route: Route, wire_format: WireFormat
    ) -> tuple[tuple[ResolvedTarget, ...], KeyleaseError | None]:
        """The targets of a route that this lease may use, and why the first other one is none."""
        targets = []
        refused: KeyleaseError | None = None
        for target in route.targets:
            try:
                targets.append(self._resolve(claims, target, wire_format))
            except AccessDenied as error:
                refused = refused or error
        return tuple(targets), refused

    def _resolve(
        self, claims: LeaseClaims, target: Target, wire_format: WireFormat
    ) -> ResolvedTarget:
        # 1. The credential exists and speaks the format that the client speaks.
        credential = self._credentials.get(target.credential_id)
        if credential is None:
            raise ModelNotAllowed("The route leads to a credential that does not exist.")
        provider = CATALOGUE.get(credential.provider)
        if provider is None:
            raise BindingMissing("The credential's provider is not known to this gateway.")
        if provider.wire_format is not wire_format:
            raise ModelNotAllowed(
                f"The model is served by {provider.name}, which speaks another API.",
                advice=f"Call it through the {provider.wire_format.value} API.",
            )
        # 2. It is meant for the purpose of the lease, and an eval lease never gets to production.
        if claims.purpose is Purpose.EVAL and self._serves_production(credential):
            raise PurposeNotAllowed("A lease for evals does not reach a production credential.")
        if claims.purpose not in credential.purposes:
            raise PurposeNotAllowed(
                f"The credential is not for the purpose '{claims.purpose.value}' of your lease."
            )
        # 3. It belongs to the environment of the lease.
        if credential.environment != claims.environment:
            raise AccessDenied(
                f"The credential does not belong to the environment '{claims.environment}'."
            )
        # 4. The gateway's own file allows it to go there.
        endpoint = self._endpoint(credential, provider)
        binding = self._bindings.decide(
            reference=credential.reference,
            provider=provider.name,
            origin=endpoint.origin,
            purpose=claims.purpose,
            environment=claims.environment,
        )
        return ResolvedTarget(
            credential=credential,
            provider=provider,
            binding=binding,
            prefix=endpoint.prefix,
            pool=self._upstreams.pool(endpoint.origin, allow_private=binding.listed),
            target=target,
        )

    def _serves_production(self, credential: Credential) -> bool:
        return (
            Purpose.PRODUCTION in credential.purposes
            or _canonical(credential.reference) in self._production
        )

    @staticmethod
    def _endpoint(credential: Credential, provider: Provider) -> Endpoint:
        """Where the credential goes. At a provider's own host the path is the catalogue's."""
        url = credential.upstream or provider.base_url
        if not url:
            raise BindingMissing(f"A credential of {provider.name} has to name its upstream.")
        endpoint = read_base_url(url)
        for known in CATALOGUE.values():
            if not known.base_url:
                continue
            official = read_base_url(known.base_url)
            if official.origin == endpoint.origin and official.prefix != endpoint.prefix:
                raise BindingMissing(
                    f"The credential's upstream is at {known.name}, but under another path.",
                    advice="Leave the upstream out: the catalogue knows the address.",
                )
        return endpoint


class PolicyHolder:
    """The policy in force. Replaced as a whole; whoever holds a decision keeps its version."""

    def __init__(self, configuration: GatewayConfiguration, *, upstreams: Upstreams) -> None:
        self._bindings = Bindings(configuration.bindings)
        self._upstreams = upstreams
        self.current: CompiledPolicy | None = None

    def replace(self, bundle: PolicyBundle | None) -> None:
        """Put ``bundle`` in force, or nothing."""
        self.current = (
            CompiledPolicy(bundle, self._bindings, self._upstreams) if bundle is not None else None
        )


def _canonical(reference: str) -> str:
    try:
        return str(Reference.parse(reference))
    except (ReferenceInvalid, UnicodeDecodeError):
        return reference


def _production_references(credentials: Iterable[Credential]) -> frozenset[str]:
    return frozenset(
        _canonical(credential.reference)
        for credential in credentials
        if Purpose.PRODUCTION in credential.purposes
    )


def _any_matches(patterns: Iterable[str], word: str) -> bool:
    return any(matches(pattern, word) for pattern in patterns)
