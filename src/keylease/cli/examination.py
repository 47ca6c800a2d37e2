"""What `keylease doctor` looks at: each examination gives findings and changes nothing."""

from __future__ import annotations

import platform
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import msgspec

import keylease
from keylease.cli.environment import strongroom_environment
from keylease.cli.strongroom_process import strongroom_command
from keylease.cli.trace_options import trace_members
from keylease.errors import FileInvalid, GatewayNotRunning, KeyleaseError, Severity
from keylease.platform.traces.store.address import server_address
from keylease.primitives.clock import MICROSECONDS, Clock, isoformat
from keylease.primitives.fingerprints import LOCAL_KEY_FILE
from keylease.sdk.control import ControlClient
from keylease.sdk.provider_variables import recognised
from keylease.settings import Settings, process_environment
from keylease.strongroom.config_files.gateway_file import load_gateway
from keylease.strongroom.config_files.policy_checks import check_together
from keylease.strongroom.config_files.policy_file import load_policy
from keylease.strongroom.configuration import Address, GatewayConfiguration
from keylease.strongroom.gateway.form import form_of_call_path
from keylease.strongroom.hardening.environment import unwanted
from keylease.strongroom.hardening.posture import Posture
from keylease.strongroom.hardening.weaknesses import (
    weaknesses_of_configuration,
    weaknesses_of_policy,
)
from keylease.strongroom.startup import NO_ORGANIZATION

_STRONGROOM_SECONDS: Final = 20.0
_OTHERS: Final = 0o077
_CLOCK_SLACK: Final = 60 * MICROSECONDS


class Area(StrEnum):
    """What a finding is about."""

    VERSIONS = "versions"
    HARDENING = "hardening"
    GATEWAY = "gateway"
    CREDENTIALS = "credentials"
    CONFIGURATION = "configuration"
    DATABASE = "database"
    FILES = "files"
    ENVIRONMENT = "environment"
    CLOCK = "clock"


class State(StrEnum):
    """How good or bad a finding is."""

    GOOD = "good"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the report."""

    area: Area
    name: str
    state: State
    detail: str
    advice: str = ""


def examine(settings: Settings, *, clock: Clock) -> list[Finding]:
    """Look at everything."""
    findings = [*_versions(settings)]
    try:
        with ControlClient(settings.data_dir) as control:
            status = control.call("status")
            posture = msgspec.convert(control.call("posture"), Posture)
            findings += _hardening(posture, running=True)
            findings += _running_gateway(status)
            findings += _credentials(control)
    except GatewayNotRunning as error:
        findings += _hardening(_posture_here(settings), running=False)
        findings += _no_gateway(settings, error)
    except KeyleaseError as error:
        findings.append(
            Finding(area=Area.GATEWAY, name="control", state=State.PROBLEM, detail=error.message)
        )
    findings += _configuration(settings)
    findings += _trace_store(settings)
    findings += _files(settings)
    findings += _environment(settings)
    findings += _clock(settings, clock)
    return findings


# --- versions --------------------------------------------------------------------------------


def _versions(settings: Settings) -> Iterator[Finding]:
    def note(name: str, detail: str) -> Finding:
        return Finding(area=Area.VERSIONS, name=name, state=State.NOTE, detail=detail)

    yield note("keylease", keylease.__version__)
    yield note("python", f"{platform.python_version()} at {sys.executable}")
    yield note("strongroom python", str(settings.strongroom_python))
    yield note("call path", form_of_call_path().in_words())
    yield note("system", f"{platform.system()} {platform.release()} {platform.machine()}")


# --- hardening -------------------------------------------------------------------------------


def _posture_here(settings: Settings) -> Posture | str:
    """Of a strongroom process started for the question; or why there is none."""
    try:
        result = subprocess.run(  # noqa: S603 - our own program, no shell
            strongroom_command(["posture"], python=str(settings.strongroom_python)),
            env=strongroom_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_STRONGROOM_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{settings.strongroom_python} cannot be started: {type(error).__name__}"
    if result.returncode != 0:
        return result.stderr.strip() or f"it ended with status {result.returncode}"
    return msgspec.json.decode(result.stdout, type=Posture)


def _hardening(posture: Posture | str, *, running: bool) -> Iterator[Finding]:
    if not isinstance(posture, Posture):
        yield Finding(
            area=Area.HARDENING,
            name="strongroom process",
            state=State.PROBLEM,
            detail=posture,
            advice="Set KEYLEASE_STRONGROOM_PYTHON to the Python of the strongroom's environment.",
        )
        return
    if not running:
        yield Finding(
            area=Area.HARDENING,
            name="measured on",
            state=State.NOTE,
            detail="a strongroom process started for this question; no gateway is running",
        )
    for measure in posture.measures:
        yield Finding(
            area=Area.HARDENING,
            name=measure.name,
            state=State.GOOD if measure.on else State.WARNING,
            detail=f"{'on' if measure.on else 'off'}: {measure.reason}",
        )
    for warning in posture.warnings:
        isolated = not warning.startswith("zones not isolated")
        yield Finding(
            area=Area.HARDENING,
            name="posture",
            state=State.WARNING if isolated else State.PROBLEM,
            detail=warning,
        )


# --- the gateway and its credentials -----------------------------------------------------------


def _running_gateway(status: Mapping[str, Any]) -> Iterator[Finding]:
    yield Finding(
        area=Area.GATEWAY,
        name="running",
        state=State.GOOD,
        detail=f"process {status['pid']}, {' '.join(status['urls'])}",
    )
    if status["version"] != keylease.__version__:
        yield Finding(
            area=Area.GATEWAY,
            name="version",
            state=State.WARNING,
            detail=f"the gateway is {status['version']}, this command {keylease.__version__}",
            advice="Restart the gateway.",
        )


def _no_gateway(settings: Settings, error: GatewayNotRunning) -> Iterator[Finding]:
    yield Finding(
        area=Area.GATEWAY,
        name="running",
        state=State.NOTE,
        detail=error.message,
        advice=error.advice,
    )
    yield from _ports(settings)


def _ports(settings: Settings) -> Iterator[Finding]:
    try:
        configuration = load_gateway(settings.gateway_file)
    except KeyleaseError:
        return  # reported under configuration
    metrics = (configuration.metrics,) if configuration.metrics is not None else ()
    for address in (*configuration.listen, *metrics):
        free = _is_free(address)
        yield Finding(
            area=Area.GATEWAY,
            name=f"port {address.port}",
            state=State.GOOD if free else State.PROBLEM,
            detail=f"{address.host} is free" if free else f"{address.host}: in use by another",
            advice="" if free else "Stop that program, or listen elsewhere in gateway.toml.",
        )


def _is_free(address: Address) -> bool:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address.host, address.port))
        except OSError:
            return False
    return True


def _credentials(control: ControlClient) -> list[Finding]:
    try:
        checks = control.call("credentials.check")
    except KeyleaseError as error:
        return [
            Finding(area=Area.CREDENTIALS, name="check", state=State.PROBLEM, detail=error.message)
        ]
    return [_credential(check) for check in checks]


def _credential(check: Mapping[str, Any]) -> Finding:
    if check["available"]:
        return Finding(
            area=Area.CREDENTIALS,
            name=check["name"],
            state=State.GOOD,
            detail=f"{check['reference']}, version {check['version']},"
            f" fetched {check['age_seconds']:g} s ago",
        )
    return Finding(
        area=Area.CREDENTIALS,
        name=check["name"],
        state=State.PROBLEM,
        detail=f"{check['reference']}: {check['error']['message']}",
        advice=check["error"].get("advice", ""),
    )


# --- configuration -----------------------------------------------------------------------------


def _configuration(settings: Settings) -> Iterator[Finding]:
    if settings.gateway_file.exists() and (platform := _policy_of_a_platform(settings)):
        yield from platform
        return
    missing = [p for p in (settings.gateway_file, settings.policy_file) if not p.exists()]
    if missing:
        for path in missing:
            yield Finding(
                area=Area.CONFIGURATION,
                name=path.name,
                state=State.NOTE,
                detail=f"{path} does not exist yet",
                advice="`keylease up` writes a first one.",
            )
        return
    try:
        configuration = load_gateway(settings.gateway_file)
        bundle = load_policy(
            settings.policy_file, organization_id=NO_ORGANIZATION, version=1, now=0
        )
    except FileInvalid as error:
        for diagnostic in error.diagnostics:
            yield _diagnosed(str(diagnostic), diagnostic.severity)
        return
    except KeyleaseError as error:
        yield _diagnosed(error.message, Severity.ERROR)
        return
    diagnostics = check_together(configuration, bundle)
    for diagnostic in diagnostics:
        yield _diagnosed(str(diagnostic), diagnostic.severity)
    for warning in (*weaknesses_of_configuration(configuration), *weaknesses_of_policy(bundle)):
        yield _diagnosed(warning, Severity.WARNING)
    if not diagnostics:
        yield Finding(
            area=Area.CONFIGURATION,
            name="files",
            state=State.GOOD,
            detail="gateway.toml and keylease.toml are valid and fit each other",
        )


def _policy_of_a_platform(settings: Settings) -> list[Finding]:
    """What there is to say of a gateway.toml that names a platform; nothing of any other."""
    try:
        configuration = load_gateway(settings.gateway_file)
    except KeyleaseError:
        return []  # the usual way says what is wrong with it
    if configuration.platform is None:
        return []
    return [
        *(
            _diagnosed(warning, Severity.WARNING)
            for warning in weaknesses_of_configuration(configuration)
        ),
        *_fingerprint_key(configuration.platform.fingerprint_key_file),
        Finding(
            area=Area.CONFIGURATION,
            name="files",
            state=State.GOOD,
            detail=f"gateway.toml is valid; the policy comes from {configuration.platform.url}",
        ),
    ]


def _fingerprint_key(file: str) -> Iterator[Finding]:
    if file:
        return
    yield Finding(
        area=Area.CONFIGURATION,
        name="fingerprint key",
        state=State.NOTE,
        detail="gateway.toml names none: what scans find is not matched with credentials in use",
        advice='Write fingerprint_key = "fingerprint.key" under [platform].',
    )


def _trace_store(settings: Settings) -> Iterator[Finding]:
    """Which one the settings name; a running server may have been given another by a flag."""
    name = "trace store"
    try:
        trace_members(settings)
    except KeyleaseError as error:
        yield Finding(
            area=Area.CONFIGURATION,
            name=name,
            state=State.PROBLEM,
            detail=error.message,
            advice=error.advice,
        )
        return
    if not settings.trace_store_url:
        detail = "the engine inside the server"
        yield Finding(area=Area.CONFIGURATION, name=name, state=State.NOTE, detail=detail)
        return
    address = server_address(settings.trace_store_url)
    cluster = f", cluster {settings.trace_store_cluster}" if settings.trace_store_cluster else ""
    yield Finding(
        area=Area.CONFIGURATION,
        name=name,
        state=State.WARNING if address.unprotected else State.NOTE,
        detail=f"ClickHouse server {address}{cluster}"
        + (", without TLS" if address.unprotected else ""),
        advice="Spans and the password can be read on the way: let the server speak TLS."
        if address.unprotected
        else "",
    )
    if settings.trace_store_password_file:
        file = Path(settings.trace_store_password_file)
        yield from _file(file, holds_a_secret=True, must_exist=True)


def _diagnosed(text: str, severity: Severity) -> Finding:
    state = State.PROBLEM if severity is Severity.ERROR else State.WARNING
    return Finding(area=Area.CONFIGURATION, name="check", state=state, detail=text)


# --- files -------------------------------------------------------------------------------------


def _files(settings: Settings) -> Iterator[Finding]:
    for path in (
        settings.config_dir,
        settings.gateway_file,
        settings.policy_file,
        _sealing_key(settings),
        settings.config_dir / LOCAL_KEY_FILE,
        settings.data_dir,
        settings.data_dir / "strongroom",
        settings.data_dir / "strongroom" / "sealed.json",
    ):
        yield from _file(path)


def _sealing_key(settings: Settings) -> Path:
    configured: GatewayConfiguration | None = None
    with suppress(KeyleaseError):  # reported under configuration
        configured = load_gateway(settings.gateway_file)
    named = configured.stores.sealed_key_file if configured is not None else ""
    return Path(named) if named else settings.gateway_file.parent / "sealing.key"


def _file(
    path: Path, *, holds_a_secret: bool = False, must_exist: bool = False
) -> Iterator[Finding]:
    try:
        status = path.stat()
    except FileNotFoundError:
        if must_exist:
            detail = f"{path} does not exist"
            yield Finding(area=Area.FILES, name=path.name, state=State.PROBLEM, detail=detail)
        return
    except OSError as error:
        yield Finding(
            area=Area.FILES, name=path.name, state=State.NOTE, detail=f"{path}: {error.strerror}"
        )
        return
    mode = stat.S_IMODE(status.st_mode)
    # Who may write decides what the gateway does; who may read matters for keys, see `advice`.
    writable = bool(mode & 0o022)
    readable_key = (holds_a_secret or path.suffix == ".key") and bool(mode & _OTHERS)
    state = State.PROBLEM if writable or readable_key else State.GOOD
    yield Finding(
        area=Area.FILES,
        name=path.name,
        state=state,
        detail=f"{path}, mode {mode:04o}, uid {status.st_uid}",
        advice=f"Run `chmod go-rwx {path}`." if state is State.PROBLEM else "",
    )


# --- environment and clock ---------------------------------------------------------------------


def _environment(settings: Settings) -> Iterator[Finding]:
    names = process_environment()
    ignored = unwanted(names)
    yield Finding(
        area=Area.ENVIRONMENT,
        name="redirections",
        state=State.NOTE if ignored else State.GOOD,
        detail=f"set here, ignored by the strongroom: {', '.join(ignored)}"
        if ignored
        else "no proxy, endpoint, certificate or loader variable is set",
    )
    keys = sorted(name for name in names if recognised(name))
    yield Finding(
        area=Area.ENVIRONMENT,
        name="provider variables",
        state=State.WARNING if keys else State.GOOD,
        detail=f"this shell holds {', '.join(keys)}" if keys else "no provider key is set here",
        advice="Every program started here can read them; move the keys into a secret store."
        if keys
        else "",
    )
    if settings.strongroom_shares_environment:
        yield Finding(
            area=Area.ENVIRONMENT,
            name="strongroom environment",
            state=State.WARNING,
            detail="strongroom processes run with this environment's packages",
            advice="Build one from requirements/strongroom.lock; set KEYLEASE_STRONGROOM_PYTHON.",
        )


def _clock(settings: Settings, clock: Clock) -> Iterator[Finding]:
    """A clock that was set back makes leases live too long; files from the future show it."""
    now = clock.now()
    newest = max(
        (
            path.stat().st_mtime_ns // 1000
            for path in (settings.data_dir, settings.data_dir / "strongroom")
            if path.exists()
        ),
        default=0,
    )
    back = newest > now + _CLOCK_SLACK
    yield Finding(
        area=Area.CLOCK,
        name="time",
        state=State.PROBLEM if back else State.GOOD,
        detail=f"{isoformat(now)}, but data was written at {isoformat(newest)}"
        if back
        else isoformat(now),
        advice="Set the clock: leases and budgets are measured by it." if back else "",
    )
