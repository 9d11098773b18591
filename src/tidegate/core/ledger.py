"""The account of what is allocated on which worker. It sells nothing twice and can check itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.errors import LedgerError


@dataclass(frozen=True, slots=True)
class Allocation:
    """What one attempt holds, from the commit of the plan until its processes are proven gone.

    Of a batch the head holds it all, until the last one has ended, and the others hold nothing.
    """

    worker_id: str
    generation: int
    queue: str
    resources: Resources
    head: AttemptKey | None = None


@dataclass(slots=True)
class _Account:
    """`ceiling` is what allocations may add up to: what is allocatable, or more while lost capacity is still in use."""

    generation: int
    allocatable: Resources
    allocated: Resources
    ceiling: Resources


class Ledger:
    """Allocations of all workers, with running totals that `check` recounts. Not thread-safe."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}
        self._live: dict[AttemptKey, Allocation] = {}
        self._batches: dict[AttemptKey, set[AttemptKey]] = {}
        """The attempts of a batch that have not ended, by its head."""
        self._ended: set[AttemptKey] = set()
        """Heads whose batches have ended, and that hold on since processes may be left."""
        self._queues: Counter[str] = Counter()

    def set_worker(self, worker_id: str, generation: int, allocatable: Resources) -> None:
        """Add a worker or change it. Its allocations stay, also under a new generation or a smaller capacity."""
        account = self._accounts.get(worker_id)
        allocated = account.allocated if account else Resources()
        self._accounts[worker_id] = _Account(
            generation, allocatable, allocated, _larger(allocatable, allocated)
        )

    def allocate(
        self,
        key: AttemptKey,
        worker_id: str,
        generation: int,
        queue: str,
        resources: Resources,
        head: AttemptKey | None = None,
    ) -> bool:
        """Take room for an attempt, or let it share that of `head`, and then `resources` are nothing. False, and nothing
        changed, when the attempt holds some already, the worker is not known under this generation, there is not enough
        left, or the head's sandbox is not there.
        """
        account = self._accounts.get(worker_id)
        if key in self._live or account is None or account.generation != generation:
            return False
        if head is not None and not self._may_share(key, head, worker_id, resources):
            return False
        if not resources.fits_in(account.allocatable - account.allocated):
            return False
        self._live[key] = Allocation(worker_id, generation, queue, resources, head)
        if head is not None:
            self._batches.setdefault(head, {head}).add(key)
        self._queues[queue] += head is None
        account.allocated += resources
        return True

    def sharing(self, head: AttemptKey) -> frozenset[AttemptKey]:
        """The attempts of a batch of this head that have not ended; empty where there is no batch."""
        return frozenset(self._batches.get(head, ()))

    def _may_share(self, key: AttemptKey, head: AttemptKey, worker_id: str, resources: Resources) -> bool:
        there = self._live.get(head)
        if there is None or there.head is not None or head not in self._batches.get(head, {head}):
            return False
        return (there.worker_id, head.job_id, Resources()) == (worker_id, key.job_id, resources)

    def release(self, key: AttemptKey, *, keep: bool = False) -> tuple[AttemptKey, ...]:
        """An attempt has ended. Whose allocations that gives back: its own; of a batch the head's with the last end alone, and
        not even then if `keep`. Empty when the attempt holds nothing (any more)."""
        allocation = self._live.get(key)
        if allocation is None:
            return ()
        head = allocation.head or key
        batch = self._batches.get(head)
        if batch is None:
            return self._give_back(key)
        if key not in batch:
            return ()
        batch.remove(key)
        released = () if key == head else self._give_back(key)
        if batch:
            return released
        del self._batches[head]
        if not keep:
            return released + self._give_back(head)
        self._ended.add(head)
        self._queues[allocation.queue] -= 1
        return released

    def _give_back(self, key: AttemptKey) -> tuple[AttemptKey, ...]:
        allocation = self._live.pop(key)
        account = self._accounts[allocation.worker_id]
        account.allocated -= allocation.resources
        account.ceiling = _larger(account.allocatable, account.allocated)
        if allocation.head is None and key not in self._ended:
            self._queues[allocation.queue] -= 1
        self._ended.discard(key)
        return (key,)

    def available(self, worker_id: str) -> Resources:
        """What is left; negative amounts where capacity was taken away below what is allocated. Raises KeyError."""
        account = self._accounts[worker_id]
        return account.allocatable - account.allocated

    def allocated(self, worker_id: str) -> Resources:
        """What is taken. Raises KeyError for an unknown worker."""
        return self._accounts[worker_id].allocated

    def running(self, queue: str) -> int:
        """How many attempts of a queue hold something; those that share it count once."""
        return self._queues[queue]

    def live(self) -> Mapping[AttemptKey, Allocation]:
        """All that is held now, also by heads that have ended; a view that follows later changes."""
        return MappingProxyType(self._live)

    def check(self) -> None:
        """Recount. Raises LedgerError with the first figure that is wrong."""
        sums = dict.fromkeys(self._accounts, Resources())
        for key, allocation in self._live.items():
            if allocation.worker_id not in sums:
                raise LedgerError(
                    f"Attempt {key} holds {allocation.resources} on unknown '{allocation.worker_id}'."
                )
            sums[allocation.worker_id] += allocation.resources
        for worker_id, account in self._accounts.items():
            if account.allocated != sums[worker_id]:
                raise LedgerError(
                    f"Worker '{worker_id}' counts {account.allocated!r} as allocated; "
                    f"its attempts hold {sums[worker_id]!r}."
                )
            if not account.allocated.fits_in(account.ceiling):
                raise LedgerError(
                    f"Worker '{worker_id}' is oversold: {account.allocated!r} of {account.ceiling!r}."
                )
        for key, allocation in self._live.items():
            if allocation.head is not None and key not in self._batches.get(allocation.head, ()):
                raise LedgerError(f"Attempt {key} shares what {allocation.head} does not hold.")
        queues = Counter(
            each.queue for key, each in self._live.items() if each.head is None and key not in self._ended
        )
        if queues != +self._queues:
            raise LedgerError(f"Queues count {dict(+self._queues)} running; the attempts are {dict(queues)}.")


def _larger(one: Resources, other: Resources) -> Resources:
    return Resources(
        max(one.cpu_milli, other.cpu_milli),
        max(one.memory_bytes, other.memory_bytes),
        max(one.disk_bytes, other.disk_bytes),
    )
