"""Which of several servers leads."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol


class LeaderStore(Protocol):
    """The lease of the one server that schedules. Each time it changes hands its epoch grows, and every write of the
    scheduler names the epoch it was decided under: what a former leader writes late is refused."""

    def lead(self, holder: str, at: datetime, lease_s: float) -> int | None:
        """The epoch while `holder` leads, until `lease_s` after `at`; None while somebody else does.

        A lease that `holder` has is renewed under its epoch; one that is free or has run out, be it `holder`'s own, is
        taken under the next epoch.
        """
        ...

    def seize(self, holder: str, at: datetime, lease_s: float) -> int:
        """Take the lease from whoever has it; the new epoch. Only for who can prove that no other server lives."""
        ...

    def resign(self, holder: str, epoch: int, at: datetime) -> bool:
        """Free the lease for others at once. False when `holder` does not lead under this epoch."""
        ...
