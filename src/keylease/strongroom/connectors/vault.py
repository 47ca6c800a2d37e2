"""Vault and OpenBao: what lies below a KV mount. Values only when asked, in memory.

Source: openbao.org/api-docs/secret/kv/kv-v2 (metadata, LIST) and kv-v1; tried against OpenBao 2.7.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar, Final

from keylease.contracts.findings import PlaceKind
from keylease.errors import ConnectorAnswerInvalid
from keylease.strongroom.connectors.interfaces import Ability, Listed, ListedValue
from keylease.strongroom.connectors.session import Session, moment, segment
from keylease.strongroom.secrets import Secret

_MAXIMUM_FOLDERS: Final = 20_000


class Vault:
    """``account`` is a KV version 2 mount, or ``mount/path`` for what lies below a path."""

    system: ClassVar[str] = "vault"
    title: ClassVar[str] = "Vault or OpenBao"
    origin: ClassVar[str] = ""
    vendor: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]] = frozenset({Ability.INVENTORY})

    def authentication(self, secret: Secret) -> dict[str, str]:
        """A token whose policy allows ``list`` and ``read`` below ``mount/metadata``."""
        return {
            "X-Vault-Token": secret.reveal(why="list metadata in Vault").decode(),
            "X-Vault-Request": "true",
        }

    async def inventory(
        self, session: Session, account: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        """Every path below; with ``values`` every field of it."""
        mount, _, start = account.partition("/")
        folders = [start.strip("/") + "/" if start.strip("/") else ""]
        for _ in range(_MAXIMUM_FOLDERS):
            if not folders:
                return
            folder = folders.pop()
            for name in _keys(await session.list(_path(mount, "metadata", folder))):
                if name.endswith("/"):
                    folders.append(folder + name)
                    continue
                async for found in self._secret(session, mount, folder + name, values=values):
                    yield found
        raise ConnectorAnswerInvalid(f"There are more than {_MAXIMUM_FOLDERS} folders.")

    async def _secret(
        self, session: Session, mount: str, path: str, *, values: bool
    ) -> AsyncIterator[Listed | ListedValue]:
        metadata = await session.get(_path(mount, "metadata", path), absent_is_none=True)
        facts = _data(metadata)
        listed = Listed(
            name=path.rpartition("/")[2][:300],
            container=f"{mount}/{path}"[:1000],
            kind=PlaceKind.SECRET_STORE,
            created_at=moment(facts.get("created_time")),
            changed_at=moment(facts.get("updated_time")),
        )
        if not values:
            yield listed
            return
        answer = await session.get(_path(mount, "data", path), absent_is_none=True)
        fields = _data(answer).get("data")
        if not isinstance(fields, dict):
            yield listed  # its newest version was deleted
            return
        for field, value in fields.items():
            if isinstance(value, str) and value:
                named = Listed(
                    name=str(field)[:300],
                    container=listed.container,
                    kind=listed.kind,
                    created_at=listed.created_at,
                    changed_at=listed.changed_at,
                )
                yield ListedValue(named, Secret(value))


def _path(mount: str, area: str, path: str) -> str:
    parts = "/".join(segment(part) for part in path.split("/"))
    return f"/v1/{segment(mount)}/{area}/{parts}"


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
