"""Which worker a task fits best, and why it fits none. A refusal is data with numbers."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from math import inf
from operator import attrgetter

from tidegate.core.criticality import Criticality
from tidegate.core.holding import Hold, held_back
from tidegate.core.job import Shape
from tidegate.core.plan import Reason, ReasonCode, WorkerView
from tidegate.core.resources import Resources, Shortfall, count_cpus, format_bytes

_Amounts = tuple[int, int, int]
_Order = list[tuple[float, int]]
"""What is free on workers, and their indices; sorted."""

_ROUNDING = 1e-9
"""A search begins lower by this share, far more than sums of floating-point numbers can be off."""
_FEW = 64
"""Up to so many workers are looked at one by one."""
_id = attrgetter("id")


class Room:
    """What is free on the workers during one pass. It only shrinks, so a shape that was refused stays refused.

    Best fit: of the workers where a shape fits, the one with the least left over afterwards, as the sum of the free
    shares of its CPU and memory; ties go to the smaller id. On 8,152 Alibaba pods over 64 workers held at 90 % this
    left 0.02 % of the new tasks without a place although 10 % was free; first fit left 0.16 %, spreading 7.8 %.

    The workers that accept are kept sorted by free CPU, by free memory and, among those of about one size, by the free
    share of both. So a search looks only at those with enough of what is scarcest, or, where those are many, in each
    size from the fullest that could do up to where nothing better can come.
    """

    def __init__(self, workers: Iterable[WorkerView]) -> None:
        self.workers = sorted(workers, key=_id)
        self.free = [_free(worker) for worker in self.workers]
        self.weights = [_weights(worker.allocatable) for worker in self.workers]
        """By how much a milli-CPU and a byte of memory count on each worker."""
        accepting = [index for index, worker in enumerate(self.workers) if worker.takes_work]
        self.by_cpu: _Order = sorted([(self.free[index][0], index) for index in accepting])
        self.by_memory: _Order = sorted([(self.free[index][1], index) for index in accepting])
        self.sizes: dict[tuple[int, int], _Size] = {}
        self.size_of = [_NO_SIZE] * len(self.workers)
        for index in accepting:
            self._sort_in(index)
        for size in self.sizes.values():
            size.order.sort()
        self.taken: list[int] = []
        """Indices of the workers that took something, in order."""
        self.holds = {index: hold for index in accepting if (hold := self.workers[index].hold) is not None}
        """What pressure keeps from starting, by index."""
        self._probes: dict[tuple[_Amounts, frozenset[tuple[str, str]], Criticality | None], Probe] = {}

    def probe(self, shape: Shape, work: Criticality | None = None) -> Probe:
        """The one probe of this pass for all tasks of this shape; where something is held back, of this class too."""
        key = (_amounts(shape.resources), shape.labels, work)
        probe = self._probes.get(key)
        if probe is None:
            probe = self._probes[key] = Probe(shape, self, work)
        return probe

    def take(self, index: int, amounts: _Amounts, work: Criticality | None = None) -> None:
        """Use up room of a worker that accepts."""
        if work is not None and index in self.holds:
            self.holds[index] = self.holds[index].after(work)
        cpu, memory, disk = before = self.free[index]
        self.free[index] = after = (cpu - amounts[0], memory - amounts[1], disk - amounts[2])
        weights = self.weights[index]
        _move(self.size_of[index].order, index, _share(before, weights), _share(after, weights))
        _move(self.by_cpu, index, cpu, after[0])
        _move(self.by_memory, index, memory, after[1])
        self.taken.append(index)

    def _sort_in(self, index: int) -> None:
        whole, weights = self.workers[index].allocatable, self.weights[index]
        key = (_eighths(whole.cpu_milli), _eighths(whole.memory_bytes))
        size = self.sizes.get(key)
        if size is None:
            size = self.sizes[key] = _Size(weights)
        size.add(_share(self.free[index], weights), index, weights)
        self.size_of[index] = size


class _Size:
    """Workers whose CPUs, and whose memory, differ by at most an eighth; sorted by the share that is free."""

    __slots__ = ("cpu", "memory", "order")

    def __init__(self, weights: tuple[float, float]) -> None:
        self.order: _Order = []
        self.cpu = [weights[0], weights[0]]
        self.memory = [weights[1], weights[1]]
        """The least and the largest weights."""

    def add(self, share: float, index: int, weights: tuple[float, float]) -> None:
        self.order.append((share, index))
        for bounds, weight in ((self.cpu, weights[0]), (self.memory, weights[1])):
            if weight < bounds[0]:
                bounds[0] = weight
            elif weight > bounds[1]:
                bounds[1] = weight


_NO_SIZE = _Size((0.0, 0.0))


class Probe:
    """Looks for room for one shape. Made by `Room.probe`."""

    __slots__ = (
        "_asked",
        "_best",
        "_labels",
        "_least",
        "_places",
        "_refused",
        "_room",
        "_seen",
        "_work",
        "shape",
    )

    def __init__(self, shape: Shape, room: Room, work: Criticality | None = None) -> None:
        self.shape = shape
        self._work = work
        self._room = room
        self._asked = _amounts(shape.resources)
        self._least = tuple(amount or -inf for amount in self._asked)
        """What has to be free. Of what is asked none of, less than none will do: capacity can shrink below what is given."""
        self._labels = shape.labels
        self._best = -1
        self._seen = 0
        self._refused = False
        self._places: int | None = None

    def find(self) -> WorkerView | None:
        """The worker where the shape fits best; None when it fits nowhere."""
        if self._refused:
            return None
        taken = self._room.taken
        if self._best >= 0 and self._fits(self._best):
            # Where something was taken the shape fits tighter, elsewhere as before: only those can have become better.
            changed = set(taken[self._seen :])
            changed.add(self._best)
            best = self._tightest(changed) if len(changed) > 1 else self._best
        else:
            best = self._search()
        self._best, self._seen, self._refused = best, len(taken), best < 0
        return None if best < 0 else self._room.workers[best]

    def take(self) -> None:
        """Use up the room that `find` has just found."""
        self._room.take(self._best, self._asked, self._work)

    def places(self) -> int:
        """How many tasks of this shape all workers that accept could run at a time if they were empty, at least 1."""
        if self._places is None:
            whole = (
                _whole(self._room.workers[index]) for _, index in self._room.by_cpu if self._has_labels(index)
            )
            self._places = max(sum(_times(amounts, self._asked) for amounts in whole), 1)
        return self._places

    def refusal(self, who: str) -> Reason:
        """Why there is no room for `who` (`Job 81`). For use after `find` found nothing."""
        held = [] if self._work is None else list(self._held_back())
        if held and self._work is not None:
            return Reason(ReasonCode.PRESSURE, *held_back(who, self._work, held))
        return refusal(who, self.shape, self._room.workers, [Resources(*free) for free in self._room.free])

    def _search(self) -> int:
        """Like `_tightest` of all workers that accept, but looks at few."""
        by_cpu, by_memory = self._room.by_cpu, self._room.by_memory
        cpu, memory, _ = self._asked
        from_cpu = bisect_left(by_cpu, (cpu, -1)) if cpu else 0
        from_memory = bisect_left(by_memory, (memory, -1)) if memory else 0
        few = by_cpu[from_cpu:] if from_cpu >= from_memory else by_memory[from_memory:]
        if len(few) <= _FEW:
            return self._tightest([index for _, index in few])
        return min((self._tightest_of(size) for size in self._room.sizes.values()), default=(inf, -1))[1]

    def _tightest_of(self, size: _Size) -> tuple[float, int]:
        """What is left over and the index; from the fullest that could do to where none can be tighter."""
        cpu, memory, _ = self._asked
        least_cost = cpu * size.cpu[0] + memory * size.memory[0]
        spread = cpu * size.cpu[1] + memory * size.memory[1] - least_cost
        first = bisect_left(size.order, (least_cost * (1 - _ROUNDING), -1)) if cpu and memory else 0
        best, none_tighter = (inf, -1), inf
        free, (least_cpu, least_memory, least_disk) = self._room.free, self._least
        for share, index in islice(size.order, first, None):
            if share > none_tighter:
                break
            # `_fits` spelled out: a search looks at 150 workers that are too full before it finds one.
            free_cpu, free_memory, free_disk = free[index]
            if free_cpu < least_cpu or free_memory < least_memory or free_disk < least_disk:
                continue
            if self._has_labels(index):
                best = min(best, (self._left_over(index), index))
                if not spread:
                    break
                none_tighter = min(none_tighter, share + spread)
        return best

    def _tightest(self, indices: Iterable[int]) -> int:
        """The index with the least left over, -1 when the shape fits at none. `_fits` is spelled out, as above."""
        free, (least_cpu, least_memory, least_disk) = self._room.free, self._least
        best = (inf, -1)
        for index in indices:
            free_cpu, free_memory, free_disk = free[index]
            if free_cpu < least_cpu or free_memory < least_memory or free_disk < least_disk:
                continue
            if self._has_labels(index):
                best = min(best, (self._left_over(index), index))
        return best[1]

    def _fits(self, index: int) -> bool:
        """`Resources.fits_in` on plain numbers: this runs for each start and worker."""
        cpu, memory, disk = self._room.free[index]
        least_cpu, least_memory, least_disk = self._least
        return cpu >= least_cpu and memory >= least_memory and disk >= least_disk and self._has_labels(index)

    def _has_labels(self, index: int) -> bool:
        """Likewise whether it begins work of this class."""
        if self._work is not None and self._held(index):
            return False
        return not self._labels or self._labels <= self._room.workers[index].labels

    def _held(self, index: int) -> bool:
        hold = self._room.holds.get(index)
        return hold is not None and self._work is not None and not hold.admits(self._work)

    def _held_back(self) -> Iterator[tuple[str, Hold]]:
        """The workers that have room, and do not begin this class of work."""
        for index, hold in self._room.holds.items():
            worker, free = self._room.workers[index], Resources(*self._room.free[index])
            if self._held(index) and self._labels <= worker.labels and self.shape.resources.fits_in(free):
                yield worker.id, hold

    def _left_over(self, index: int) -> float:
        cpu, memory, _ = self._room.free[index]
        cpu_weight, memory_weight = self._room.weights[index]
        return (cpu - self._asked[0]) * cpu_weight + (memory - self._asked[1]) * memory_weight


def refusal(who: str, shape: Shape, workers: Sequence[WorkerView], free: Sequence[Resources]) -> Reason:
    """Why a shape fits on none of the workers, `free` being what each has left.

    From what waiting cannot change to what it can: no worker at all, no worker with the labels, too large for every
    such worker, none of those takes work, no room now.
    """
    if not workers:
        return Reason(ReasonCode.NO_WORKER, f"{who} waits for a worker: none is registered.", {"workers": 0})
    labelled = [index for index, worker in enumerate(workers) if shape.labels <= worker.labels]
    if not labelled:
        return _no_label(who, shape, len(workers))
    large = [index for index in labelled if shape.resources.fits_in(workers[index].allocatable)]
    if not large:
        return _too_large(who, shape, [workers[index] for index in labelled])
    accepting = [index for index in large if workers[index].takes_work]
    if not accepting:
        silent = [workers[index] for index in large if workers[index].accepting]
        if silent:
            return _silent(who, silent)
        names = ", ".join(f"'{workers[index].id}'" for index in large[:3])
        sentence = f"{who} waits for a worker: {names} could run it, but takes no work at the moment."
        return Reason(ReasonCode.NO_WORKER, sentence, {"workers": len(large), "accepting": 0})
    nearest = min(
        accepting, key=lambda index: _lack(shape.resources, free[index], workers[index].allocatable)
    )
    return _no_room(who, shape, workers[nearest], free[nearest])


def never_fits(who: str, shape: Shape, workers: Sequence[WorkerView]) -> Reason | None:
    """Why a shape could not run on any of the workers if they were empty; None when it could, or without workers."""
    reason = refusal(who, shape, workers, [worker.allocatable for worker in workers]) if workers else None
    return reason if reason and reason.code in (ReasonCode.TOO_LARGE, ReasonCode.LABELS) else None


def _no_label(who: str, shape: Shape, workers: int) -> Reason:
    labels = ", ".join(f"{name}={value}" for name, value in sorted(shape.labels))
    has = "the one worker does not have" if workers == 1 else f"none of the {workers} workers has"
    sentence = f"{who} asks for a worker with {labels}, which {has}. Change `labels` or add such a worker."
    return Reason(ReasonCode.LABELS, sentence, {"labels": labels, "workers": workers})


def _too_large(who: str, shape: Shape, workers: Sequence[WorkerView]) -> Reason:
    asked = shape.resources
    largest = min(workers, key=lambda worker: _lack(asked, worker.allocatable, worker.allocatable))
    short = asked.shortfalls(largest.allocatable)
    wanted = " and ".join(_text(one.resource, one.asked) for one in short)
    limit = " and ".join(_text(one.resource, one.available) for one in short)
    fields = " and ".join(f"`{_FIELDS[one.resource]}`" for one in short)
    sentence = (
        f"{who} cannot start: it asks for {wanted}, worker '{largest.id}' can give at most {limit}. "
        f"Lower {fields} or add a worker."
    )
    return Reason(ReasonCode.TOO_LARGE, sentence, {"worker": largest.id, **_figures(short, "limit")})


def _silent(who: str, workers: Sequence[WorkerView]) -> Reason:
    nearest = min(workers, key=lambda worker: worker.silent_s or 0.0)
    silent_s = round(nearest.silent_s or 0.0, 1)
    sentence = (
        f"{who} waits for a worker: '{nearest.id}' could run it, but was last heard of {silent_s:g} s ago; "
        f"after {nearest.lease_s:g} s nothing is started there until it is heard of again."
    )
    numbers: dict[str, float | str] = {"worker": nearest.id, "silent_s": silent_s, "lease_s": nearest.lease_s}
    return Reason(ReasonCode.WORKER_SILENT, sentence, numbers)


def _no_room(who: str, shape: Shape, worker: WorkerView, free: Resources) -> Reason:
    short = shape.resources.shortfalls(free)
    sentence = f"{who} waits for room: {'; '.join(map(str, short))} on worker '{worker.id}'."
    return Reason(ReasonCode.RESOURCES, sentence, {"worker": worker.id, **_figures(short, "available")})


_FIELDS = {"cpu": "cpus", "memory": "memory", "disk": "disk"}
_UNITS = {"cpu": "cpu_milli", "memory": "memory_bytes", "disk": "disk_bytes"}


def _figures(short: Iterable[Shortfall], against: str) -> dict[str, int]:
    """`asked_memory_bytes` and `available_memory_bytes` (or `limit_…`) for each resource that does not fit."""
    figures = {}
    for resource, asked, available in short:
        figures[f"asked_{_UNITS[resource]}"] = asked
        figures[f"{against}_{_UNITS[resource]}"] = max(available, 0)
    return figures


def _text(resource: str, amount: int) -> str:
    amount = max(amount, 0)
    return count_cpus(amount) if resource == "cpu" else f"{format_bytes(amount)} of {resource}"


def _lack(asked: Resources, free: Resources, total: Resources) -> float:
    """How far a worker is from having room: the largest missing share of what it has in all."""
    totals = {"cpu": total.cpu_milli, "memory": total.memory_bytes, "disk": total.disk_bytes}
    short = asked.shortfalls(free)
    return max(((one.asked - one.available) / (totals[one.resource] or 1) for one in short), default=0.0)


def _amounts(resources: Resources) -> _Amounts:
    return (resources.cpu_milli, resources.memory_bytes, resources.disk_bytes)


def _free(worker: WorkerView) -> _Amounts:
    """Like `worker.available`, as plain numbers: this runs for each worker in each pass."""
    whole, allocated = worker.allocatable, worker.allocated
    return (
        whole.cpu_milli - allocated.cpu_milli,
        whole.memory_bytes - allocated.memory_bytes,
        whole.disk_bytes - allocated.disk_bytes,
    )


def _whole(worker: WorkerView) -> _Amounts:
    return _amounts(worker.allocatable)


def _times(whole: _Amounts, asked: _Amounts) -> int:
    """How often an amount goes into a worker; what is asked none of counts for nothing."""
    return min((max(there, 0) // one for there, one in zip(whole, asked, strict=True) if one), default=1)


def _weights(whole: Resources) -> tuple[float, float]:
    return (1.0 / (whole.cpu_milli or 1), 1.0 / (whole.memory_bytes or 1))


def _share(free: _Amounts, weights: tuple[float, float]) -> float:
    return free[0] * weights[0] + free[1] * weights[1]


def _eighths(amount: int) -> int:
    """The same for amounts that differ by less than an eighth, or a little more: the four highest bits."""
    shift = max(amount.bit_length() - 4, 0)
    return (shift << 4) + (amount >> shift)


def _move(order: _Order, index: int, before: float, after: float) -> None:
    del order[bisect_left(order, (before, index))]
    insort(order, (after, index))
