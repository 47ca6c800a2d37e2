"""Signing in through an outside issuer: authorization code with PKCE, state and nonce.

1. The browser begins, and is given a cookie. What the issuer sends back belongs to that browser.
2. The issuer sends a code; it is exchanged with the PKCE verifier, and the ID token is checked.
3. Who that is here: a link that exists; or an address that the issuer has verified, within the
   organization's domains; or an open invitation to that address.
4. Groups are set as the issuer names them, and the sign-in goes on like any other.

Protects: nobody can finish a sign-in that another browser has begun (login CSRF, a stolen code); an
    issuer cannot take over an account that has a way in of its own: its owner links it, signed in.
Does not protect: an organization from an issuer that it trusts for its domains.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Final
from urllib.parse import urlencode

import msgspec

from keylease.contracts.audit import AuditAction
from keylease.errors import PermissionDenied, ResourceNotFound, SignInRefused
from keylease.platform.db.callers import Caller
from keylease.platform.db.database import Database
from keylease.platform.db.transaction import Transaction
from keylease.platform.identity.interfaces import Directory, KnownUser
from keylease.platform.identity.one_time import digest_of, random_text, same
from keylease.platform.identity.outside import id_tokens, repository
from keylease.platform.identity.outside.clients import IssuerClients
from keylease.platform.identity.outside.interfaces import CALLBACK, OutsideIdentity
from keylease.platform.identity.outside.issuers import secret_place
from keylease.platform.identity.outside.repository import StoredIssuer
from keylease.platform.identity.sealing import Sealer
from keylease.platform.identity.sessions.interfaces import Circumstances, SignInMethod
from keylease.platform.identity.sessions.service import Sessions
from keylease.platform.identity.sign_in import attempts, steps
from keylease.platform.identity.sign_in import repository as sign_in_repository
from keylease.platform.identity.sign_in.interfaces import Outcome
from keylease.platform.identity.sign_in.methods import methods_of
from keylease.platform.identity.sign_in.refusals import Refusals
from keylease.platform.identity.sign_in.service import SignIn, acting
from keylease.primitives.clock import Clock

_LONGEST_CODE: Final = 4096
_MAXIMUM_GROUPS: Final = 500


class Begun(msgspec.Struct, frozen=True):
    """Where the browser goes, and the cookie by which it is known when it comes back."""

    url: str
    cookie: str


class Finished(msgspec.Struct, frozen=True):
    """Where the sign-in has come to, and the local path the person wanted."""

    outcome: Outcome
    wanted: str


class _Visit(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept while the browser is at the issuer."""

    issuer_id: str
    nonce: str
    verifier: str
    cookie_digest: str
    wanted: str
    link_to: str = ""
    """The user who links this identity, signed in."""


class OutsideSignIn:
    """Sign-ins through issuers."""

    def __init__(  # noqa: PLR0913 - its collaborators
        self,
        database: Database,
        *,
        directory: Directory,
        sign_in: SignIn,
        sessions: Sessions,
        clients: IssuerClients,
        sealer: Sealer,
        clock: Clock,
        public_url: str,
    ) -> None:
        self._database = database
        self._directory = directory
        self._refusals = Refusals(database, directory=directory)
        self._sign_in = sign_in
        self._sessions = sessions
        self._clients = clients
        self._sealer = sealer
        self._clock = clock
        self._redirect_uri = public_url + CALLBACK

    async def begin(
        self, *, issuer_id: str, wanted: str, address: str, link_to: Caller | None = None
    ) -> Begun:
        """Send a browser to an issuer. ``wanted`` is a local path that was checked."""
        if link_to is not None:
            await self._sessions.require_recent(link_to)
        async with self._database.reading() as tx:
            issuer = await repository.by_id(tx, issuer_id)
        if link_to is not None and issuer.organization_id != link_to.organization_id:
            raise ResourceNotFound("There is no such issuer.")
        endpoint = await self._clients.endpoint(issuer.issuer, "authorization_endpoint")
        if not endpoint:
            raise SignInRefused("The issuer has no page to sign in at.")
        cookie, verifier, nonce = random_text(), random_text(), random_text()
        visit = _Visit(
            issuer_id=issuer.id,
            nonce=nonce,
            verifier=verifier,
            cookie_digest=digest_of(cookie, purpose="outside-cookie"),
            wanted=wanted,
            link_to=link_to.principal.id if link_to and link_to.principal else "",
        )
        async with self._database.transaction() as tx:
            await attempts.take(tx, attempts.address(address))
            state = await steps.begin(tx, steps.StepKind.OUTSIDE, visit)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": issuer.client_id,
            "redirect_uri": self._redirect_uri,
            "scope": "openid email profile",
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.rstrip(b"=").decode(),
            "code_challenge_method": "S256",
        }
        return Begun(f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(query)}", cookie)

    async def finish(
        self, *, state: str, code: str, issuer_said: str, cookie: str, circumstances: Circumstances
    ) -> Finished:
        """The browser is back; raises ``SignInRefused``, ``IssuerUnavailable``, ``TooMany...``."""
        address = attempts.address(circumstances.address)
        # 1. The visit is used up whatever comes of it, and belongs to this browser.
        async with self._database.transaction() as tx:
            await attempts.take(tx, address)
            step = await steps.use(tx, steps.StepKind.OUTSIDE, state)
            visit = step.read(_Visit)
            if not same(digest_of(cookie, purpose="outside-cookie"), visit.cookie_digest):
                # Rolled back by this, so that the right browser can still finish.
                raise SignInRefused("This sign-in was begun in another browser.")
            issuer = await repository.by_id(tx, visit.issuer_id)
        # 2. What the issuer says. Nothing waits for the network inside a transaction.
        if issuer_said and issuer_said != issuer.issuer:  # RFC 9207
            raise SignInRefused("The answer comes from another issuer.")
        identity = await self._ask(issuer, visit, code)
        # 3. Who that is here.
        try:
            return await self._arrive(issuer, visit, identity, circumstances)
        except SignInRefused:
            await self._refusals.write(user=None, reason="outside")
            raise

    async def _ask(self, issuer: StoredIssuer, visit: _Visit, code: str) -> OutsideIdentity:
        if not 0 < len(code) <= _LONGEST_CODE:
            raise SignInRefused("The issuer has not signed anybody in.")
        secret = ""
        if issuer.sealed_client_secret is not None:
            place = secret_place(issuer.organization_id, issuer.id)
            secret = self._sealer.open(issuer.sealed_client_secret, place=place).decode()
        tokens = await self._clients.exchange(
            issuer.issuer,
            client_id=issuer.client_id,
            client_secret=secret,
            form={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": self._redirect_uri,
                "code_verifier": visit.verifier,
            },
        )
        id_token, access_token = tokens.get("id_token"), tokens.get("access_token")
        if not isinstance(id_token, str):
            raise SignInRefused("The issuer has given no ID token.")
        expected = id_tokens.Expected(
            issuer=issuer.issuer, client_id=issuer.client_id, nonce=visit.nonce
        )
        keys = await self._clients.keys(issuer.issuer)
        checked = await id_tokens.check(id_token, keys, expected, clock=self._clock)
        claims = dict(checked.claims)
        if _wants_more(issuer, claims) and isinstance(access_token, str):
            more = await self._clients.user_info(issuer.issuer, access_token)
            # OpenID Connect Core section 5.3.2: only of the same subject.
            if more and more.get("sub") != checked.subject:
                raise SignInRefused("The issuer's user info is somebody else's.")
            claims = {**more, **claims}
        return _identity(checked.subject, claims, groups_claim=issuer.groups_claim)

    async def _arrive(
        self,
        issuer: StoredIssuer,
        visit: _Visit,
        identity: OutsideIdentity,
        circumstances: Circumstances,
    ) -> Finished:
        subject = digest_of(f"{issuer.id}\n{identity.subject}", purpose="subject")
        async with self._database.transaction() as tx:
            inside = tx.within(issuer.organization_id)
            user = await self._user(inside, issuer, visit, identity, subject)
            if issuer.groups_claim:
                groups = {issuer.groups[name] for name in identity.groups & issuer.groups.keys()}
                await self._directory.set_outside_groups(
                    inside, user=user, issuer_id=issuer.id, group_ids=frozenset(groups)
                )
            await attempts.give_back(tx, attempts.address(circumstances.address))
        async with self._database.transaction(acting(user)) as tx:
            outcome = await self._sign_in.go_on(
                tx,
                user,
                circumstances,
                SignInMethod.OUTSIDE,
                second_factor_seen=issuer.sees_to_second_factor or identity.second_factor,
            )
        return Finished(outcome, visit.wanted)

    async def _user(
        self,
        tx: Transaction,
        issuer: StoredIssuer,
        visit: _Visit,
        identity: OutsideIdentity,
        subject: str,
    ) -> KnownUser:
        known = await repository.linked(tx, issuer, subject)
        if known is not None:
            user = await self._directory.user(tx, known)
            if visit.link_to and visit.link_to != known:
                raise PermissionDenied("This identity belongs to another user here.")
        elif visit.link_to:
            user = await self._directory.user(tx, visit.link_to)
        else:
            user = await self._by_address(tx, issuer, identity)
        if user is None or not user.active or user.organization_id != issuer.organization_id:
            raise SignInRefused(
                "Nobody here is known by this identity.",
                advice="Ask for an invitation; or sign in otherwise, and link the issuer then.",
            )
        if known is None:
            await repository.link(tx, issuer, subject, user)
            await tx.record(
                AuditAction.OUTSIDE_IDENTITY_LINKED,
                user.id,
                reason="by_its_owner" if visit.link_to else "verified_address",
                details={"issuer": issuer.id},
            )
        return user

    async def _by_address(
        self, tx: Transaction, issuer: StoredIssuer, identity: OutsideIdentity
    ) -> KnownUser | None:
        if not identity.email:
            return None
        settings = await sign_in_repository.settings(tx, issuer.organization_id)
        in_domains = identity.email.rpartition("@")[2].lower() in settings.domains
        found = [
            user
            for user in await self._directory.users_by_email(tx, identity.email)
            if user.organization_id == issuer.organization_id
        ]
        if found:
            own_ways = (await methods_of(tx, found[0])).complete
            return found[0] if in_domains and not own_ways else None
        return await self._directory.join_from_outside(
            tx,
            organization_id=issuer.organization_id,
            email=identity.email,
            name=identity.name,
            may_add=in_domains and issuer.adds_users,
        )


def _wants_more(issuer: StoredIssuer, claims: dict[str, object]) -> bool:
    missing = {"email", "email_verified"} - claims.keys()
    return bool(missing) or bool(issuer.groups_claim and issuer.groups_claim not in claims)


def _identity(subject: str, claims: dict[str, object], *, groups_claim: str) -> OutsideIdentity:
    email, name, groups = claims.get("email"), claims.get("name"), claims.get(groups_claim)
    verified = claims.get("email_verified") is True
    methods = claims.get("amr")
    return OutsideIdentity(
        subject=subject,
        email=email if verified and isinstance(email, str) and len(email) <= _LONGEST_EMAIL else "",
        name=name[:_LONGEST_NAME] if isinstance(name, str) and name.isprintable() else "",
        groups=frozenset(each for each in groups[:_MAXIMUM_GROUPS] if isinstance(each, str))
        if isinstance(groups, list)
        else frozenset(),
        second_factor=isinstance(methods, list) and "mfa" in methods,
    )


_LONGEST_EMAIL: Final = 254
_LONGEST_NAME: Final = 100
