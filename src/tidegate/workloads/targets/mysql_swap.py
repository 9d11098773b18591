"""How a table that was loaded beside its place gets there at once, and what is done about loads that died on the way.

Before the swap the list of loads may name the side table in a row, and the side table is there: nothing has happened. After it
the row is there and the side table has gone to its place: all has happened, and what belonged to the old rows must go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from tidegate.workloads.targets.base import MARK
from tidegate.workloads.targets.model import LOADS, LoadOrder

_Run = Callable[..., list[tuple[Any, ...]]]
_OLD = "_old"


class Swap:
    """Of one load of one table, whose lock is held."""

    def __init__(self, order: LoadOrder, run: _Run, quoted: Callable[[str], str], bad_rows: str) -> None:
        self._order = order
        self._run = run
        self._quoted = quoted
        self._bad_rows = bad_rows
        self._prefix = f"tidegate_{_digest(order.table)}_"
        self.side = f"{self._prefix}{order.load_id[:16]}"

    @staticmethod
    def lock_name(database: str, order: LoadOrder) -> str:
        """Locks are the server's, not the database's, and their names have at most 64 characters."""
        return f"tidegate.{_digest(database)}.{_digest(order.table)}"

    def possible(self) -> bool:
        """Foreign keys and triggers stay with the old table when it is renamed."""
        bound = self._run(
            "SELECT 1 FROM information_schema.referential_constraints WHERE (constraint_schema = database() AND "
            f"table_name = {MARK}) OR (unique_constraint_schema = database() AND referenced_table_name = {MARK}) UNION ALL "
            "SELECT 1 FROM information_schema.triggers WHERE event_object_schema = database() "
            f"AND event_object_table = {MARK} LIMIT 1",
            [self._order.table] * 3,
        )
        return not bound

    def made(self) -> bool:
        """Whether the side table is there."""
        return self.side in self._tables()

    def note(self) -> None:
        """Say in the list of loads, in the transaction of the load, on what its row depends."""
        self._run(
            f"UPDATE {LOADS} SET side = {MARK} WHERE load_id = {MARK}", (self.side, self._order.load_id)
        )

    def carry_out(self) -> None:
        """Put the side table into its place."""
        table, side, old = map(self._quoted, (self._order.table, self.side, self.side + _OLD))
        moves = f"{side} TO {table}"
        if self._order.table in self._tables(self._order.table):
            moves = f"{table} TO {old}, {moves}"
        self._run(f"RENAME TABLE {moves}")
        self.recover()

    def recover(self) -> None:
        """Undo what was not swapped in, and finish what was. Of this load as of dead ones."""
        there = self._tables()
        noted = self._run(
            f"SELECT load_id, side FROM {LOADS} WHERE target_table = {MARK} AND side IS NOT NULL",
            (self._order.table,),
        )
        for load_id, side in noted:
            if side in there:
                self._undo(load_id)
            else:
                self._finish(load_id)
        for name in there:
            self._run(f"DROP TABLE {self._quoted(name)}")

    def _undo(self, load_id: str) -> None:
        self._run("START TRANSACTION")
        self._run(f"DELETE FROM {LOADS} WHERE load_id = {MARK}", (load_id,))
        self._clear_bad_rows(f"load_id = {MARK}", load_id)
        self._run("COMMIT")

    def _finish(self, load_id: str) -> None:
        self._run("START TRANSACTION")
        self._run(
            f"DELETE FROM {LOADS} WHERE target_table = {MARK} AND load_id <> {MARK}",
            (self._order.table, load_id),
        )
        self._run(f"UPDATE {LOADS} SET side = NULL WHERE load_id = {MARK}", (load_id,))
        self._clear_bad_rows(f"load_id <> {MARK}", load_id)
        self._run("COMMIT")

    def _clear_bad_rows(self, where: str, load_id: str) -> None:
        if self._tables(self._bad_rows):
            self._run(f"DELETE FROM {self._quoted(self._bad_rows)} WHERE {where}", (load_id,))

    def _tables(self, name: str = "") -> Sequence[str]:
        """Tables of this name, or those beside the load's table."""
        how, wanted = ("=", name) if name else ("LIKE", self._prefix.replace("_", r"\_") + "%")
        sql = f"SELECT table_name FROM information_schema.tables WHERE table_schema = database() AND table_name {how} {MARK}"
        return [row[0] for row in self._run(sql, (wanted,))]


def _digest(table: str) -> str:
    return hashlib.sha256(table.encode("utf-8", "surrogatepass")).hexdigest()[:16]
