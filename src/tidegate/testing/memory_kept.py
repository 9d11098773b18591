"""Kept results in memory."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from tidegate.core.attempt import AttemptEnd
from tidegate.core.states import TaskState
from tidegate.store.kept import CACHED, MOST_BYTES, USED_AGAIN_S
from tidegate.testing.memory_rows import MemoryKept
from tidegate.testing.memory_state import MemoryState, locked


class MemoryResults(MemoryState):
    """Results of owners by digest; they are used where tasks are made."""

    def _use_kept(
        self, owner: str, digests: Iterable[str | None], at: datetime
    ) -> Mapping[str, Mapping[str, Any]]:
        """The results that are kept under these digests, which are used now."""
        found = {
            digest: self._results[owner, digest]
            for digest in digests
            if digest is not None and (owner, digest) in self._results
        }
        for kept in found.values():
            if kept.used_at < at - timedelta(seconds=USED_AGAIN_S):
                kept.used_at = at
        return {digest: kept.result for digest, kept in found.items()}

    def _keep(self, owner: str, end: AttemptEnd) -> None:
        if end.digest is None or end.result is None or end.next_state is not TaskState.SUCCEEDED:
            return
        text = json.dumps({**end.result, CACHED: True}, separators=(",", ":"))
        if len(text) <= MOST_BYTES:
            made = MemoryKept(json.loads(text), len(text), end.ended_at)
            self._results.setdefault((owner, end.digest), made)

    @locked
    def prune_kept(self, before: datetime, most_bytes: int) -> int:
        count, total = 0, sum(kept.size_bytes for kept in self._results.values())
        for key, kept in sorted(self._results.items(), key=lambda item: item[1].used_at):
            if kept.used_at >= before and total <= most_bytes:
                break
            del self._results[key]
            count, total = count + 1, total - kept.size_bytes
        return count
