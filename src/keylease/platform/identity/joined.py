"""Sign-in, sessions, API keys and identity tokens, in the order in which they need each other."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from keylease.platform.db.database import Database
from keylease.platform.identity.api_keys.service import ApiKeys
from keylease.platform.identity.authentication import IdentityAuthenticator
from keylease.platform.identity.device_flow.service import DeviceFlow
from keylease.platform.identity.holdings import IdentityHoldings
from keylease.platform.identity.identity_tokens.service import IdentityTokens
from keylease.platform.identity.identity_tokens.signing_keys import SigningKeys
from keylease.platform.identity.interfaces import Access, Directory
from keylease.platform.identity.outside.clients import IssuerClients
from keylease.platform.identity.outside.issuers import OutsideIssuers
from keylease.platform.identity.outside.service import OutsideSignIn
from keylease.platform.identity.sealing import sealer_of
from keylease.platform.identity.sessions.service import Sessions
from keylease.platform.identity.sign_in.links import FirstStart, SignInLinks
from keylease.platform.identity.sign_in.methods import SignInMethods
from keylease.platform.identity.sign_in.passkeys import Site
from keylease.platform.identity.sign_in.passwords import Parameters, PasswordHasher
from keylease.platform.identity.sign_in.service import SignIn
from keylease.platform.identity.sign_in.settings import SettingsService
from keylease.primitives.clock import Clock
from keylease.primitives.files import make_private_directory


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Everything that sign-in offers to routes and to other domains."""

    authenticator: IdentityAuthenticator
    sessions: Sessions
    sign_in: SignIn
    methods: SignInMethods
    links: SignInLinks
    first_start: FirstStart
    settings: SettingsService
    issuers: OutsideIssuers
    outside: OutsideSignIn
    devices: DeviceFlow
    api_keys: ApiKeys
    tokens: IdentityTokens
    holdings: IdentityHoldings
    public_url: str

    @property
    def secure(self) -> bool:
        """Whether people reach the server by TLS, so that cookies are for TLS only."""
        return self.public_url.startswith("https://")


@contextlib.asynccontextmanager
async def identity(  # noqa: PLR0913 - what the domain is told of the world
    database: Database,
    *,
    clock: Clock,
    directory: Directory,
    access: Access,
    data_directory: Path,
    public_url: str,
    all_permissions: frozenset[str],
    private_hosts: frozenset[str] = frozenset(),
    password_parameters: Parameters = Parameters(),  # noqa: B008 - frozen
) -> AsyncIterator[Identity]:
    """The domain, until the block ends. Raises ``ConfigurationError`` for keys it cannot use.

    ``private_hosts`` are hosts at private addresses that outside issuers may have.
    """
    make_private_directory(data_directory)
    sealer = sealer_of(data_directory)
    hasher = PasswordHasher(password_parameters)
    site = Site(public_url)
    sessions = Sessions(database, directory=directory, access=access)
    api_keys = ApiKeys(
        database, directory=directory, access=access, all_permissions=all_permissions
    )
    sign_in = SignIn(
        database,
        directory=directory,
        sessions=sessions,
        hasher=hasher,
        sealer=sealer,
        site=site,
    )
    methods = SignInMethods(
        database,
        directory=directory,
        sessions=sessions,
        hasher=hasher,
        sealer=sealer,
        site=site,
    )
    links = SignInLinks(
        database,
        directory=directory,
        access=access,
        public_url=public_url,
        all_permissions=all_permissions,
    )
    clients = IssuerClients(clock=clock, private_hosts=private_hosts)
    try:
        yield Identity(
            authenticator=IdentityAuthenticator(sessions=sessions, api_keys=api_keys),
            sessions=sessions,
            sign_in=sign_in,
            methods=methods,
            links=links,
            first_start=FirstStart(database, directory=directory, links=links),
            settings=SettingsService(database, keys=api_keys),
            issuers=OutsideIssuers(database, clients=clients, sealer=sealer, directory=directory),
            outside=OutsideSignIn(
                database,
                directory=directory,
                sign_in=sign_in,
                sessions=sessions,
                clients=clients,
                sealer=sealer,
                clock=clock,
                public_url=public_url,
            ),
            devices=DeviceFlow(
                database, directory=directory, sessions=sessions, public_url=public_url
            ),
            api_keys=api_keys,
            tokens=IdentityTokens(
                database, keys=SigningKeys(data_directory, clock=clock), issuer=public_url
            ),
            holdings=IdentityHoldings(directory=directory, sessions=sessions, api_keys=api_keys),
            public_url=public_url,
        )
    finally:
        await clients.close()
