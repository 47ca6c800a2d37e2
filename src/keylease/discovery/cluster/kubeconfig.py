"""Kubeconfig: which server, whose certificate, and how to show who asks."""

from __future__ import annotations

import base64
import binascii
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from keylease.errors import ScanInvalid
from keylease.primitives import files

_MAXIMUM_BYTES: Final = 4 * 1024 * 1024
_PLUGIN_SECONDS: Final = 60.0
_PLUGIN_ANSWER: Final = 1024 * 1024
_CONFIG: Final = "the kubeconfig"


class ClusterAccess(msgspec.Struct, frozen=True, kw_only=True):
    """A context of a kubeconfig. Its ``repr`` would show the token: it is not printed."""

    context: str
    server: str
    authority: bytes = b""
    """PEM; empty for the public authorities."""
    server_name: str = ""
    token: str = ""
    certificate: bytes = b""
    """PEM of the client's certificate and key together."""

    def __repr__(self) -> str:
        return f"ClusterAccess({self.context!r})"


def read_kubeconfig(
    paths: list[Path], context: str, environment: Mapping[str, str]
) -> ClusterAccess:
    """Find a context, the current one when none is named. Raises ``ScanInvalid``."""
    documents = [(path, _document(path)) for path in paths if path.exists()]
    if not documents:
        raise ScanInvalid(
            "There is no kubeconfig.", advice="Set KUBECONFIG, or give --kubeconfig FILE."
        )
    wanted = context or next(
        (text for _, doc in documents if (text := str(doc.get("current-context") or ""))), ""
    )
    _, chosen = _named(documents, "contexts", wanted, "context")
    base, cluster = _named(documents, "clusters", str(chosen.get("cluster", "")), "cluster")
    user_base, user = _named(documents, "users", str(chosen.get("user", "")), "user")
    server = cluster.get("server")
    if not isinstance(server, str) or not server.startswith(("https://", "http://")):
        raise ScanInvalid(f"The context {wanted} of {_CONFIG} names no server.")
    if cluster.get("insecure-skip-tls-verify"):
        raise ScanInvalid(
            f"The context {wanted} of {_CONFIG} does not verify who the server is.",
            advice="Put its certificate-authority-data there instead.",
        )
    user = _with_plugin(user, user_base, environment)
    certificate = _content(user, "client-certificate", user_base)
    return ClusterAccess(
        context=wanted,
        server=server.rstrip("/"),
        authority=_content(cluster, "certificate-authority", base),
        server_name=str(cluster.get("tls-server-name") or ""),
        token=str(user.get("token") or "") or _token_file(user, user_base),
        certificate=certificate + b"\n" + _content(user, "client-key", user_base)
        if certificate
        else b"",
    )


def _document(path: Path) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415 - for who reads a cluster only

    try:
        content = files.read_bounded(path, maximum=_MAXIMUM_BYTES)
        document = yaml.safe_load(content[:_MAXIMUM_BYTES])
    except OSError as error:
        raise ScanInvalid(
            f"The kubeconfig {path} cannot be read: {os.strerror(error.errno or 0)}."
        ) from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise ScanInvalid(f"{path} is no kubeconfig.") from None
    if not isinstance(document, dict):
        raise ScanInvalid(f"{path} is no kubeconfig.")
    return document


def _named(
    documents: list[tuple[Path, Mapping[str, Any]]], group: str, name: str, member: str
) -> tuple[Path, Mapping[str, Any]]:
    """The first entry of that name; the folder that its relative paths are relative to."""
    for path, document in documents:
        entries = document.get(group)
        for entry in entries if isinstance(entries, list) else ():
            if isinstance(entry, dict) and entry.get("name") == name:
                found = entry.get(member)
                return path.parent, found if isinstance(found, dict) else {}
    raise ScanInvalid(
        f"{_CONFIG.capitalize()} has no {member} {name!r}.",
        advice="`kubectl config get-contexts` lists them.",
    )


def _content(entry: Mapping[str, Any], name: str, base: Path) -> bytes:
    """``name-data`` in base64, or the file ``name``."""
    data = entry.get(f"{name}-data")
    if data:
        try:
            return base64.b64decode(str(data), validate=True)
        except (binascii.Error, ValueError):
            raise ScanInvalid(f"The {name}-data of {_CONFIG} is no base64.") from None
    file = entry.get(name)
    if not file:
        return b""
    try:
        return files.read_bounded(base / str(file), maximum=_MAXIMUM_BYTES)
    except OSError as error:
        raise ScanInvalid(
            f"The {name} of {_CONFIG} cannot be read: {os.strerror(error.errno or 0)}."
        ) from None


def _token_file(user: Mapping[str, Any], base: Path) -> str:
    file = user.get("tokenFile")
    if not file:
        return ""
    return _content({"token": file}, "token", base).decode(errors="replace").strip()


def _with_plugin(
    user: Mapping[str, Any], base: Path, environment: Mapping[str, str]
) -> Mapping[str, Any]:
    """Ask a credential plugin (client.authentication.k8s.io), as kubectl does."""
    if "auth-provider" in user and "exec" not in user:
        raise ScanInvalid(
            f"The user of {_CONFIG} has an auth-provider, which kubectl has given up too.",
            advice="Log in again with the cloud's current command line.",
        )
    plugin = user.get("exec")
    if not isinstance(plugin, dict):
        return user
    command = str(plugin.get("command") or "")
    if "/" in command:
        command = str(base / command)
    version = str(plugin.get("apiVersion") or "")
    extra = {str(item["name"]): str(item["value"]) for item in plugin.get("env") or ()}
    asked = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    try:
        answer = subprocess.run(  # noqa: S603 - the plugin that the user's kubeconfig names
            [command, *map(str, plugin.get("args") or ())],
            env={
                **environment,
                **extra,
                "KUBERNETES_EXEC_INFO": msgspec.json.encode(asked).decode(),
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PLUGIN_SECONDS,
            check=True,
        )
        status = msgspec.json.decode(answer.stdout[:_PLUGIN_ANSWER])["status"]
    except (OSError, subprocess.SubprocessError, msgspec.DecodeError, KeyError, TypeError):
        raise ScanInvalid(
            f"The credential plugin of {_CONFIG} gave no credential.",
            advice="Check that kubectl itself works with this context.",
        ) from None
    found = dict(user)
    for name, member in (
        ("token", "token"),
        ("client-certificate-data", "clientCertificateData"),
        ("client-key-data", "clientKeyData"),
    ):
        value = status.get(member) if isinstance(status, dict) else None
        if isinstance(value, str) and value:
            found[name] = value if name == "token" else base64.b64encode(value.encode()).decode()
    return found
