"""The first gateway.toml and keylease.toml that `keylease up` writes and shows.

They allow development and evals on this machine with the keys that its owner puts into the sealed
store or already has in the environment, and nothing for production.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Final

import msgspec

from keylease.errors import ConfigurationError

VARIABLES: Final = {"OPENAI_API_KEY": "openai", "ANTHROPIC_API_KEY": "anthropic"}
"""Variables that the providers' own clients read, and the provider of each."""
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


def gateway_text(*, policy_file: str = "keylease.toml") -> str:
    """A gateway.toml that binds the two large providers for development and evals."""
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
    return f"""\
# What this gateway may ever do. No policy can widen it. docs/reference/gateway-toml.md explains
# every line; `keylease policy check` says what is wrong with it.
version = 1

[gateway]
listen = "127.0.0.1:4141"
metrics = "127.0.0.1:4142"
policy = {json.dumps(policy_file, ensure_ascii=False)}
maximum_lease = "15m"

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


def write_first_files(
    gateway_file: Path, policy_file: Path, *, variables: Collection[str] = ()
) -> FirstFiles:
    """Write whichever of the two files does not exist yet, readable by their owner only.

    Raises ``ConfigurationError`` when they cannot be written.
    """
    beside = policy_file.name if policy_file.parent == gateway_file.parent else str(policy_file)
    return FirstFiles(
        gateway_file=gateway_file,
        policy_file=policy_file,
        policy_written=_write_new(policy_file, policy_text(variables=variables)),
        gateway_written=_write_new(gateway_file, gateway_text(policy_file=beside)),
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
