"""The first gateway.toml and keylease.toml that `keylease up` writes and shows.

With a platform beside it the gateway takes its policy from there, and what keylease.toml would say
becomes the platform's first policy. They allow development and evals on this machine with the keys
that its owner puts into the sealed store or already has in the environment, and nothing for
production.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from keylease.contracts.identity_tokens import audience_of
from keylease.contracts.policy import (
    BudgetPeriod,
    Credential,
    Grant,
    Limits,
    PolicyBundle,
    Route,
    Target,
    TrustRule,
)
from keylease.contracts.purposes import Purpose
from keylease.errors import ConfigurationError
from keylease.primitives.fingerprints import LOCAL_KEY_FILE
from keylease.primitives.identifiers import derived_id

VARIABLES: Final = {"OPENAI_API_KEY": "openai", "ANTHROPIC_API_KEY": "anthropic"}
"""Variables that the providers' own clients read, and the provider of each."""
_NOBODYS: Final = "00000000-0000-0000-0000-000000000000"
"""The platform puts its own organization in its place."""
_LOCAL_PURPOSES: Final = (Purpose.DEVELOPMENT, Purpose.EVAL)
_MODELS: Final = {
    "openai": '["gpt-*", "o*", "text-*", "chatgpt-*", "whisper-*", "tts-*", "dall-e-*"]',
    "anthropic": '["claude-*"]',
}


class FirstFiles(msgspec.Struct, frozen=True):
    """What was written."""

    gateway_file: Path
    policy_file: Path
    gateway_written: bool
    policy_written: bool


def gateway_text(
    *,
    policy_file: str = "keylease.toml",
    platform_url: str = "",
    fingerprint_key: str = LOCAL_KEY_FILE,
) -> str:
    """A gateway.toml that binds the two large providers for development and evals.

    With ``platform_url`` the policy comes from that platform, whose sign-in is trusted too, and it
    is told by what the secrets are recognised that the gateway fetches.
    """
    bindings = "".join(
        f"""
[[binding]]
reference = "{reference}"
provider = "{provider}"
purposes = ["development", "eval"]
"""
        for variable, provider in VARIABLES.items()
        for reference in (f"sealed://{provider}*", f"env://{variable}")
    )
    policy = f"policy = {json.dumps(policy_file, ensure_ascii=False)}\n"
    platform = (
        f"""
# Where the policy comes from, and where records go. `keylease gateway enroll` joins another one.
[platform]
url = {json.dumps(platform_url)}
# With it the gateway tells the inventory by what a key is recognised; scanners get a copy.
fingerprint_key = {json.dumps(fingerprint_key, ensure_ascii=False)}

# Whose sign-in is believed when somebody asks for a lease. The policy says who gets one.
[[trusted_issuer]]
issuer = {json.dumps(platform_url)}
allow_private_address = true
"""
        if platform_url
        else ""
    )
    return f"""\
# What this gateway may ever do. No policy can widen it. docs/reference/gateway-toml.md explains
# every line; `keylease policy check` says what is wrong with it.
version = 1

[gateway]
listen = "127.0.0.1:4141"
metrics = "127.0.0.1:4142"
{"" if platform_url else policy}maximum_lease = "15m"
{platform}
# Which secrets may go where, and what for. The provider's own hosts are meant unless `hosts` names
# others. Production is not here: add it with references of its own when you need it.
{bindings}"""


def policy_text(*, variables: Collection[str] = ()) -> str:
    """A keylease.toml for both providers.

    A provider whose variable is among ``variables`` is taken from the environment, the other from
    the sealed store.
    """
    credentials = "".join(
        f"""
[[credential]]
name = "{provider}"
provider = "{provider}"
reference = "{f"env://{variable}" if variable in variables else f"sealed://{provider}"}"
purposes = ["development", "eval"]
environment = "local"

[[route]]
name = "{provider}"
models = {_MODELS[provider]}
targets = [{{ credential = "{provider}" }}]
"""
        for variable, provider in VARIABLES.items()
    )
    return f"""\
# Who may use which credential for what. docs/reference/keylease-toml.md explains every line;
# `keylease policy check` says what is wrong with it, `keylease policy reload` puts it in force.
version = 1

# Credentials say where a secret lives. `keylease secret put openai` fills sealed://openai.
{credentials}
# Everybody who can ask this machine's gateway for a lease.
[[grant]]
name = "people"
principals = ["user:*"]
models = ["*"]
purposes = ["development", "eval"]
environments = ["local"]
requests_per_minute = 600
budget_usd = "20.00"
budget_period = "day"
"""


def first_policy(
    *, variables: Collection[str] = (), platform_url: str, group: str, now: int
) -> PolicyBundle:
    """What ``policy_text`` says, for a platform; people who signed in there get leases too.

    ``group`` is the gateway group. The platform puts its organization in the place of the
    bundle's, also where a claim has to be it.
    """
    organization_id = _NOBODYS
    credentials = tuple(
        Credential(
            id=derived_id(organization_id, "credential", provider),
            name=provider,
            provider=provider,
            reference=f"env://{variable}" if variable in variables else f"sealed://{provider}",
            purposes=_LOCAL_PURPOSES,
            environment="local",
        )
        for variable, provider in VARIABLES.items()
    )
    return PolicyBundle(
        organization_id=organization_id,
        version=1,
        issued_at=now,
        credentials=credentials,
        routes=tuple(
            Route(
                id=derived_id(organization_id, "route", one.provider),
                name=one.provider,
                models=tuple(json.loads(_MODELS[one.provider])),
                targets=(Target(credential_id=one.id),),
            )
            for one in credentials
        ),
        grants=(
            Grant(
                id=derived_id(organization_id, "grant", "people"),
                name="people",
                principals=("user:*",),
                models=("*",),
                purposes=_LOCAL_PURPOSES,
                environments=("local",),
                limits=Limits(
                    requests_per_minute=600,
                    budget_micro_usd=20_000_000,
                    budget_period=BudgetPeriod.DAY,
                ),
            ),
        ),
        trust_rules=(
            TrustRule(
                id=derived_id(organization_id, "trust_rule", "sign-in"),
                name="sign-in",
                issuer=platform_url,
                audience=audience_of(group),
                claims={"organization": organization_id},
                principal="user:{user}",
                purposes=_LOCAL_PURPOSES,
                environments=("local",),
                models=("*",),
                subject_once=True,
            ),
        ),
    )


def write_first_files(
    gateway_file: Path,
    policy_file: Path,
    *,
    variables: Collection[str] = (),
    platform_url: str = "",
    fingerprint_key: str = LOCAL_KEY_FILE,
) -> FirstFiles:
    """Write whichever of the two files does not exist yet, readable by their owner only.

    With ``platform_url`` there is no keylease.toml, and ``fingerprint_key`` is named. Raises
    ``ConfigurationError`` when they cannot be written.
    """
    beside = policy_file.name if policy_file.parent == gateway_file.parent else str(policy_file)
    key = Path(fingerprint_key)
    return FirstFiles(
        gateway_file=gateway_file,
        policy_file=policy_file,
        policy_written=not platform_url
        and _write_new(policy_file, policy_text(variables=variables)),
        gateway_written=_write_new(
            gateway_file,
            gateway_text(
                policy_file=beside,
                platform_url=platform_url,
                fingerprint_key=key.name if key.parent == gateway_file.parent else str(key),
            ),
        ),
    )


def _write_new(path: Path, text: str) -> bool:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Written beside and linked into place: a crash leaves no half file, and a file that
        # appeared in the meantime is not overwritten.
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        try:
            with os.fdopen(descriptor, "w") as stream:
                stream.write(text)
                stream.flush()
                os.fsync(stream.fileno())
            path.hardlink_to(draft)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
    except OSError as error:
        raise ConfigurationError(
            f"{path} cannot be written: {error.strerror}.",
            advice="Correct the directory's permissions, or choose another --config-dir.",
        ) from error
    return True
