"""From one definition of a table to the statements of a single engine and of a cluster.

On one engine a table is a MergeTree. On a cluster it is two: ``NAME_local``, replicated, on every
node, and ``NAME``, which distributes over the shards. All rows of a trace lie on one shard, so that
FINAL, which works on each shard by itself, sees every version of a row.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_PLACE: Final = re.compile(r"@(?P<rows>rows:)?(?P<name>[a-z_]+)")
DURABLE: Final = (
    "fsync_after_insert = 1, fsync_part_directory = 1, min_rows_to_fsync_after_merge = 1"
)
"""What was inserted is on the disk when the insert returns: files, and the names of files. So is
what a merge or a removal has written again, before the parts that it replaces are deleted."""
PROMPT: Final = (
    "old_parts_lifetime = 1, cleanup_delay_period = 1, max_cleanup_delay_period = 2, "
    "cleanup_delay_period_random_add = 0"
)
"""Seconds after which files that were written again are deleted: removed rows are in them."""
SMALL_BUFFERS: Final = (
    "min_bytes_for_wide_part = 33554432, max_compress_block_size = 65536, "
    "min_compress_block_size = 16384, vertical_merge_algorithm_min_rows_to_activate = 16384"
)
"""Each column of a part in the making has its buffers; sixty columns of 2 MB would be too much."""
INTACT: Final = "max_suspicious_broken_parts = 0, max_suspicious_broken_parts_bytes = 0"
"""The engine by itself sets a broken part aside and goes on without its rows; here it refuses."""


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where tables are made."""

    database: str = "keylease"
    cluster: str = ""
    """Name of the cluster in the servers' configuration; empty for one engine."""

    def __post_init__(self) -> None:
        for name in (self.database, self.cluster):
            if name and not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a database or a cluster")

    @property
    def on_cluster(self) -> str:
        """The clause that lets a statement run on every node."""
        return f" ON CLUSTER `{self.cluster}`" if self.cluster else ""

    def table(self, name: str) -> str:
        """The table that is read and inserted into."""
        return f"`{self.database}`.`{name}`"

    def sql(self, text: str, **parts: str) -> str:
        """A statement with the names of tables in it.

        ``@spans`` becomes the table that is read; ``@rows:spans`` the one whose rows are changed in
        place, with its cluster; ``@which`` what ``parts`` has under this name. Values never come in
        like this: they are ``{name:Type}`` parameters.
        """
        return _PLACE.sub(lambda found: self._put(found, parts), text)

    def _put(self, found: re.Match[str], parts: Mapping[str, str]) -> str:
        name = found["name"]
        if found["rows"]:
            return f"{self.rows(name)}{self.on_cluster}"
        return self.sql(parts[name], **parts) if name in parts else self.table(name)

    def rows(self, name: str) -> str:
        """The table whose rows are changed and removed in place, with ``on_cluster``."""
        return self.table(f"{name}_local" if self.cluster else name)


class Table(msgspec.Struct, frozen=True, kw_only=True):
    """A table as a step of the schema says it."""

    name: str
    columns: tuple[tuple[str, str], ...]
    """Names and types, with codecs."""
    order_by: str
    replaced_by: str = ""
    """The column whose greatest value wins among rows of one key."""
    shard_by: str = "cityHash64(trace_id)"
    indexes: tuple[str, ...] = ()
    settings: str = ""

    def statements(self, layout: Layout) -> list[str]:
        """What makes the table; running it again changes nothing."""
        lines = [f"`{name}` {kind}" for name, kind in self.columns]
        lines += [f"INDEX {index}" for index in self.indexes]
        settings = ", ".join(
            part for part in (DURABLE, INTACT, PROMPT, SMALL_BUFFERS, self.settings) if part
        )
        local = f"{self.name}_local" if layout.cluster else self.name
        made = [
            f"CREATE TABLE IF NOT EXISTS {layout.rows(self.name)}{layout.on_cluster} (\n  "
            + ",\n  ".join(lines)
            + f"\n) ENGINE = {self._engine(layout, local)}\n"
            f"ORDER BY ({self.order_by})\nSETTINGS {settings}"
        ]
        if layout.cluster:
            made.append(
                f"CREATE TABLE IF NOT EXISTS {layout.table(self.name)}{layout.on_cluster} "
                f"AS {layout.rows(self.name)} ENGINE = Distributed("
                f"`{layout.cluster}`, `{layout.database}`, `{local}`, {self.shard_by})"
            )
        return made

    def _engine(self, layout: Layout, local: str) -> str:
        if not layout.cluster:
            return f"ReplacingMergeTree({self.replaced_by})"
        place = f"'/clickhouse/tables/{{shard}}/{layout.database}/{local}', '{{replica}}'"
        version = f", {self.replaced_by}" if self.replaced_by else ""
        return f"ReplicatedReplacingMergeTree({place}{version})"


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One numbered change of the schema."""

    number: int
    name: str
    tables: tuple[Table, ...] = ()
    """Tables to make."""
    alterations: tuple[tuple[str, str], ...] = ()
    """A table, and what stands after ``ALTER TABLE NAME``; must be harmless when repeated."""

    def statements(self, layout: Layout) -> list[str]:
        """Every statement of the step, in order."""
        made = [text for table in self.tables for text in table.statements(layout)]
        for name, change in self.alterations:
            made.append(f"ALTER TABLE {layout.rows(name)}{layout.on_cluster} {change}")
            if layout.cluster and "COLUMN" in change:
                made.append(f"ALTER TABLE {layout.table(name)}{layout.on_cluster} {change}")
        return made
