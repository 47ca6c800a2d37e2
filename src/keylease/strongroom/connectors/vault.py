"""Vault and OpenBao: what lies below a KV mount. Values only when asked, in memory.

Source: openbao.org/api-docs/secret/kv/kv-v2 (metadata, LIST) and kv-v1; tried against OpenBao 2.7.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

import msgspec

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorAnswerInvalid, ConnectorDenied
from keylease.strongroom.connectors.interfaces import Ability, Listed, ListedValue
from keylease.strongroom.connectors.session import Session, moment, segment
from keylease.strongroom.secrets import Secret

_MAXIMUM_FOLDERS: Final = 20_000


class Vault:
    """``account`` is a KV mount, or ``mount/path`` for what lies below a path."""

    system: ClassVar[str] = "vault"
    title: ClassVar[str] = "Vault or OpenBao"
    origin: ClassVar[str] = ""
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def __init__(self, *, namespace: str = "") -> None:
        """``namespace`` is where the mount lies (openbao.org/docs/concepts/namespaces)."""
        self._namespace = namespace.strip("/")

    def authentication(self, secret: Secret) -> dict[str, str]:
        """A token whose policy allows ``list`` and ``read`` below ``mount/metadata``."""
        headers = {
            "X-Vault-Token": secret.reveal(why="list metadata in Vault").decode(),
            "X-Vault-Request": "true",
        }
        return headers | ({"X-Vault-Namespace": self._namespace} if self._namespace else {})

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Every path below; with ``values`` every field of it.

        What the token may not read is left out, and said at the end by ``ConnectorDenied``.
        """
        mount, folder = await _mount(session, account, namespace=self._namespace)
        folders, denied = [folder], 0
        for _ in range(_MAXIMUM_FOLDERS):
            if not folders:
                break
            folder = folders.pop()
            try:
                names = _keys(await session.list(mount.path("metadata", folder)))
            except ConnectorDenied:
                denied += 1
                continue
            for name in names:
                if name.endswith("/"):
                    folders.append(folder + name)
                    continue
                found, shown = await _found(session, mount, folder + name, values=values)
                denied += not shown
                for one in found:
                    yield one
        else:
            raise ConnectorAnswerInvalid(f"There are more than {_MAXIMUM_FOLDERS} folders.")
        if denied:
            raise ConnectorDenied(
                f"{self.title} did not show {denied} of the paths.",
                advice="The token needs `list` and `read` below metadata/, and `read` below data/ "
                "for values.",
            )


class _Mount(msgspec.Struct, frozen=True):
    """A KV mount, and which version of the interface it has."""

    name: str
    version: int
    namespace: str = ""

    def container(self, path: str) -> str:
        """How people name a place: paths of two namespaces are two places."""
        return "/".join(filter(None, (self.namespace, self.name, path)))[:1000]

    def path(self, area: str, path: str) -> str:
        """Where something is: version 1 has no areas."""
        inner = [area] if self.version > 1 else []
        return "/v1/" + "/".join(map(segment, [*self.name.split("/"), *inner, *path.split("/")]))


async def _mount(session: Session, account: str, *, namespace: str) -> tuple[_Mount, str]:
    """The mount that an account lies in, whose own name may have slashes, and what is below it."""
    wanted = account.strip("/") + "/"
    path = "/v1/sys/internal/ui/mounts/" + "/".join(map(segment, wanted.split("/")))
    facts = _data(await session.get(path.rstrip("/")))
    name, options = facts.get("path"), facts.get("options")
    if not isinstance(name, str) or not wanted.startswith(name) or facts.get("type") != "kv":
        raise ConnectorAnswerInvalid(f"{account} is no KV mount.")
    version = options.get("version") if isinstance(options, dict) else None
    below = wanted[len(name) :]
    return _Mount(name.strip("/"), 2 if version == "2" else 1, namespace), below


async def _found(
    session: Session, mount: _Mount, path: str, *, values: bool
) -> tuple[list[Listed | ListedValue], bool]:
    """What is at a path, and whether all of it that was asked for was shown."""
    listed = await _listed(session, mount, path)
    if not values:
        return [listed], True
    try:
        fields = await _fields(session, mount, path)
    except ConnectorDenied:
        return [listed], False
    if not fields:
        return [listed], True  # its newest version was deleted
    return [
        ListedValue(msgspec.structs.replace(listed, name=name[:300]), Secret(value))
        for name, value in fields.items()
    ], True


async def _listed(session: Session, mount: _Mount, path: str) -> Listed:
    facts: dict[str, Any] = {}
    if mount.version > 1:
        # Whoever may list need not be allowed to read the dates.
        with contextlib.suppress(ConnectorDenied):
            facts = _data(await session.get(mount.path("metadata", path), absent_is_none=True))
    return Listed(
        name=path.rpartition("/")[2][:300],
        container=mount.container(path),
        kind=PlaceKind.SECRET_STORE,
        created_at=moment(facts.get("created_time")),
        changed_at=moment(facts.get("updated_time")),
    )


async def _fields(session: Session, mount: _Mount, path: str) -> dict[str, str]:
    """The texts that a path holds."""
    data = _data(await session.get(mount.path("data", path), absent_is_none=True))
    fields = data.get("data") if mount.version > 1 else data
    if not isinstance(fields, dict):
        return {}
    return {name: value for name, value in fields.items() if isinstance(value, str) and value}


def _keys(answer: Any) -> list[str]:  # noqa: ANN401 - JSON
    if answer is None:
        return []
    keys = _data(answer).get("keys")
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise ConnectorAnswerInvalid("Vault's answer holds no list of keys.")
    return keys


def _data(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    data = answer.get("data") if isinstance(answer, dict) else None
    return data if isinstance(data, dict) else {}
