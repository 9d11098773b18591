"""Who of the workers is alive, suspect or dead, judged from what was seen of their beats.

The observer goes by its own monotonic clock: it notes when it first saw each beat, so that no clock of another machine, and
no step of any clock, makes a worker older than it is. What it does not know it counts in the worker's favour: a worker is
dead only when this observer has looked for the whole time and has seen nothing new.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import NamedTuple

from tidegate.core.plan import WorkerView

GRACE = 0.5
"""From the end of its lease until a worker is dead, in leases: 30 s of 60 s. One beat more has then failed to come, and a
worker that was cut off has ended its attempts 40 s ago (it fences itself at 50 s)."""
PATIENCE = 2.0
"""How long nobody is declared dead after a doubt, in leases. Nomad, too, waits longer after its leader has changed."""
MASS_SHARE = 0.3
MASS_LEAST = 3
"""More than this share of the workers, and at least so many, that fall silent within one lease are our own fault, or the
network's or the database's, until the contrary has had time to show."""


class Beat(NamedTuple):
    """The last sign of life of a worker that has registered and not left: a beat, a claim or a report."""

    worker_id: str
    generation: int
    beat_at: datetime
    lease_s: float
    """For how long it asked to be believed alive."""


class Silent(NamedTuple):
    """A worker whose lease has run out: for how long nothing new was seen of it, and after how long it is dead."""

    beat: Beat
    silent_s: float
    dead_after_s: float


class Seen(NamedTuple):
    """A beat and when it was first seen, on the observer's monotonic clock."""

    beat: Beat
    since_s: float


@dataclass(frozen=True, slots=True)
class Watch:
    """What the observer remembers from one look to the next."""

    seen: Mapping[str, Seen] = field(default_factory=dict)
    patient_until_s: float = float("-inf")


@dataclass(frozen=True, slots=True)
class Findings:
    """What a look has shown. Suspects get no new attempts and keep those they have; the dead lose theirs."""

    alive: tuple[Beat, ...] = ()
    suspect: tuple[Silent, ...] = ()
    dead: tuple[Silent, ...] = ()
    mass_silence: bool = False
    """So many have fallen silent at once that nobody is declared dead for a while."""


def look(watch: Watch, beats: Sequence[Beat], now_s: float) -> tuple[Watch, Findings]:
    """Judge every worker by what is known now; what to remember, and what was found."""
    seen = {beat.worker_id: _seen(watch.seen.get(beat.worker_id), beat, now_s) for beat in beats}
    silent = [_silent(one, now_s) for one in seen.values() if now_s - one.since_s >= one.beat.lease_s]
    patient = now_s < watch.patient_until_s
    mass = not patient and _mass_silence(silent, len(seen))
    until_s = now_s + PATIENCE * _longest_lease_s(beats) if mass else watch.patient_until_s
    dead = () if patient or mass else tuple(one for one in silent if one.silent_s >= one.dead_after_s)
    found = Findings(
        alive=tuple(one.beat for one in seen.values() if now_s - one.since_s < one.beat.lease_s),
        suspect=tuple(one for one in silent if one not in dead),
        dead=dead,
        mass_silence=mass,
    )
    return Watch(seen, until_s), found


def doubt(watch: Watch, now_s: float, lease_s: float) -> Watch:
    """After something that may be our own fault (we began, stood still, or could not read): look at everyone anew."""
    seen = {name: one._replace(since_s=now_s) for name, one in watch.seen.items()}
    return Watch(seen, max(watch.patient_until_s, now_s + PATIENCE * lease_s))


def marked(workers: Iterable[WorkerView], now: datetime) -> tuple[WorkerView, ...]:
    """The workers with those marked as silent whose lease has run out by the store's clock: nothing is started there.

    An instant is good enough for that: if it is wrong, something waits for a beat or a start is lost with its worker.
    """
    return tuple(_marked(worker, now) for worker in workers)


def _marked(worker: WorkerView, now: datetime) -> WorkerView:
    if worker.beat_at is None or now < worker.beat_at:
        return worker
    silent_s = (now - worker.beat_at).total_seconds()
    return replace(worker, silent_s=silent_s) if silent_s >= worker.lease_s else worker


def _seen(before: Seen | None, beat: Beat, now_s: float) -> Seen:
    unchanged = before is not None and before.beat[:3] == beat[:3]
    return Seen(beat, before.since_s if before is not None and unchanged else now_s)


def _silent(seen: Seen, now_s: float) -> Silent:
    return Silent(seen.beat, now_s - seen.since_s, seen.beat.lease_s * (1 + GRACE))


def _mass_silence(silent: Sequence[Silent], workers: int) -> bool:
    recent = sum(one.silent_s < 2 * one.beat.lease_s for one in silent)
    return recent >= MASS_LEAST and recent > MASS_SHARE * workers


def _longest_lease_s(beats: Iterable[Beat]) -> float:
    return max((beat.lease_s for beat in beats), default=0.0)
