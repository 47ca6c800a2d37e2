"""The frozen form of gateway.toml: what this gateway may ever do, whatever a policy says.

``gateway_file`` reads the file into these types; ``bindings`` decides by them.
"""

from __future__ import annotations

from typing import Final

import msgspec

from keylease.contracts.purposes import Purpose

KUBERNETES_TOKEN_FILE: Final = "/var/run/secrets/kubernetes.io/serviceaccount/token"  # noqa: S105 - a path
"""Where Kubernetes mounts the token of a pod's service account, and swaps it for a fresh one."""


class Address(msgspec.Struct, frozen=True):
    """Where to listen."""

    host: str
    port: int


class Origin(msgspec.Struct, frozen=True, order=True):
    """Scheme, host and port of an upstream: the unit that a credential is bound to."""

    scheme: str
    host: str
    """Lower case; an IPv6 address without brackets."""
    port: int


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """One sentence of what may ever go where."""

    id: str
    """``binding:N``, N counting from 1 in the order of the file."""
    reference: str
    """A reference; ``*`` stands for any characters but ``/`` and ``#``, ``**`` for any at all."""
    provider: str
    origins: tuple[Origin, ...]
    """The catalogue's origin of the provider when the file names no hosts."""
    listed: bool
    """The file names the hosts itself; only then may they be private addresses or plain http."""
    purposes: tuple[Purpose, ...]
    environments: tuple[str, ...]
    """Patterns with ``*``."""
    maximum_micro_usd_per_day: int | None = None


class TrustedIssuer(msgspec.Struct, frozen=True, kw_only=True):
    """An OIDC issuer whose tokens trust rules may refer to."""

    issuer: str
    """Exactly as in the ``iss`` claim."""
    jwks_url: str = ""
    """Skips discovery when set."""
    allow_private_address: bool = False
    """Of the issuer's own host and that of ``jwks_url``; also allows plain http to them."""
    ca_file: str = ""
    """Certificate authorities of the issuer, such as a cluster's; empty means the public ones."""


class ConnectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """An outside system that may be asked what secrets it keeps."""

    name: str
    system: str
    reference: str = ""
    """Where the connector's own credential lives; empty for AWS's default credential chain."""
    account: str = ""
    """The organization, project, mount or region; what it means is the system's."""
    url: str = ""
    """Scheme and host; empty means the system's public API."""
    allow_private_address: bool = False
    ca_file: str = ""
    vendor: str = ""
    """The inventory's name of the vendor; empty means that of the system."""
    namespace: str = ""
    """Of Vault or OpenBao; empty means the root, or the one the token is at home in."""
    role: str = ""
    """AWS: the role that is assumed for listing; empty means the chain's own identity."""


class VerificationSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Where found keys of a provider are asked about, in the place of its public API."""

    provider: str
    url: str
    """Scheme and host, and a path in front of the provider's own where there is one."""
    allow_private_address: bool = False
    """Of this host; also allows plain http to it."""
    ca_file: str = ""


class StoreSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How the secret stores are reached. Nothing here is a secret: tokens are in files or env."""

    maximum_age_seconds: float = 300.0
    """After this a secret is fetched again before it is used."""
    grace_seconds: float = 0.0
    """How long a secret may be used past its age while its store is down."""
    timeout_seconds: float = 5.0
    attempts: int = 3
    file_directories: tuple[str, ...] = ()
    """file:// references must lie below one of these."""
    vault_address: str = ""
    vault_namespace: str = ""
    vault_auth: str = "token"
    """token, approle, jwt or kubernetes."""
    vault_auth_mount: str = ""
    vault_role: str = ""
    vault_token_file: str = ""
    """Token; role id and secret id are read from ``vault_role_id_file`` and ``_secret_id_file``."""
    vault_role_id_file: str = ""
    vault_secret_id_file: str = ""
    vault_jwt_file: str = ""
    vault_ca_file: str = ""
    aws_endpoint: str = ""
    """An endpoint other than AWS's own, for tests and private endpoints."""
    aws_version_stage: str = "AWSCURRENT"
    sealed_key_file: str = ""
    """Empty means the default place outside the data directory."""
    sealed_passphrase_file: str = ""
    """When set, the store is locked by this passphrase instead of a key file."""

    @property
    def vault_login_jwt_file(self) -> str:
        """Where the JWT of a login lies: a pod's own token when nothing else is named."""
        if self.vault_auth == "kubernetes" and not self.vault_jwt_file:
            return KUBERNETES_TOKEN_FILE
        return self.vault_jwt_file


class WireLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Sizes in bytes and times in seconds on the gateway's connections."""

    header_bytes: int = 64 * 1024
    body_bytes: int = 64 * 1024 * 1024
    upload_bytes: int = 512 * 1024 * 1024
    header_seconds: float = 15.0
    body_seconds: float = 120.0
    """Between two pieces of a request body."""
    idle_seconds: float = 75.0
    upstream_connect_seconds: float = 10.0
    upstream_response_seconds: float = 600.0
    """From the end of the request to the head of the answer, and between two pieces of it."""
    upstream_connections: int = 512
    """Per origin and worker."""
    client_connections: int = 10_000
    """Per worker."""
    drain_seconds: float = 30.0


class SpoolSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The local spool of call records."""

    maximum_bytes: int = 512 * 1024 * 1024
    otlp_endpoint: str = ""
    """Base URL of an OTLP/HTTP collector; ``/v1/traces`` is appended. Empty: kept here only, and
    the oldest records make room for new ones."""
    otlp_headers_file: str = ""
    otlp_allow_private_address: bool = False


class PlatformSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The platform that this gateway takes its policy from, and pushes its records to."""

    url: str
    """Origin. https, or http on loopback."""
    policy_key: str = ""
    """Fingerprint of the key that bundles must be signed with; empty means the one that stood in
    the enrolment code."""
    ca_file: str = ""
    """Certificate authorities of the platform; empty means the public ones."""
    fingerprint_key_file: str = ""
    """The organization's fingerprint key, also held by scanners; empty tells no fingerprints."""
    maximum_bundle_age_seconds: float = 86_400.0
    """For so long a bundle is served after it was issued, whatever it says itself."""


class StaticKeyUse(msgspec.Struct, frozen=True, kw_only=True):
    """What clients get that send an API key in the place of a lease."""

    purpose: Purpose
    """``eval`` or ``development``."""
    environment: str


class GatewayConfiguration(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of gateway.toml."""

    path: str
    group: str = "local"
    """The gateway group: issuer of its leases; gateways of a group share a signing key."""
    listen: tuple[Address, ...] = (Address("127.0.0.1", 4141),)
    public_urls: tuple[str, ...] = ()
    """Origins that clients reach this gateway by, when it is behind a name or a proxy. A sender's
    proof (DPoP) is then good only for one of these; without them the Host of the request counts."""
    metrics: Address | None = Address("127.0.0.1", 4142)
    workers: int = 1
    tls_certificate_file: str = ""
    tls_key_file: str = ""
    tls_client_ca_file: str = ""
    """Authorities of clients' certificates; with them a lease can be bound to a certificate."""
    upstream_ca_file: str = ""
    policy_file: str = ""
    """Absolute path of the local policy file; empty when a platform is configured."""
    platform: PlatformSettings | None = None
    static_keys: StaticKeyUse | None = None
    """``None``: an API key is exchanged at /oauth/token, and is nothing anywhere else."""
    signing_key: str = "sealed://keylease-lease-signing-key"
    """Reference to the lease signing keys of the group."""
    maximum_lease_seconds: int = 900
    bindings: tuple[Binding, ...] = ()
    trusted_issuers: tuple[TrustedIssuer, ...] = ()
    connectors: tuple[ConnectorSettings, ...] = ()
    verification: tuple[VerificationSettings, ...] = ()
    stores: StoreSettings = StoreSettings()
    limits: WireLimits = WireLimits()
    spool: SpoolSettings = SpoolSettings()
