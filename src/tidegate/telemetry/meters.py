"""What is counted in this process, and who tells the rest when it is asked for. Light: it loads nothing.

Counting takes a microsecond and never fails. Everything else is read only when somebody looks (`Meters.samples`).
"""

from __future__ import annotations

import logging
import threading
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import NamedTuple

from tidegate.telemetry.catalogue import CATALOGUE, OTHER, Label, Metric

__all__ = ["Distribution", "Exemplar", "Meters", "Sample", "Source", "bounded"]

log = logging.getLogger("tidegate.metrics")

Labels = tuple[str, ...]
"""Values of a metric's labels, in their order."""
_NOBODY: Mapping[str, Collection[Labels]] = {}


class Exemplar(NamedTuple):
    """One value of those in a bucket, and the trace in which it came about. `at_s` counts from 1970."""

    trace_id: str
    value: float
    at_s: float


class Distribution(NamedTuple):
    """How many values fell into each bucket, the last of which has no bound, their sum, and by bucket the last exemplar."""

    counts: tuple[int, ...]
    sum: float
    exemplars: Mapping[int, Exemplar] = {}


class Sample(NamedTuple):
    """One value of one metric of the catalogue."""

    name: str
    value: float | Distribution
    labels: Labels = ()


Source = Callable[[], Iterable[Sample]]
"""Reads figures when it is asked to. May block, and may fail."""


class _Buckets:
    __slots__ = ("counts", "exemplars", "sum")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * (buckets + 1)
        self.sum = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def seen(self) -> Distribution:
        return Distribution(tuple(self.counts), self.sum, dict(self.exemplars))


class _Bounds:
    """Lets in as many values of each label as it may have; all others are `other`."""

    def __init__(self) -> None:
        self._seen: defaultdict[tuple[str, int], dict[str, None]] = defaultdict(dict)

    def admit(self, metric: Metric, labels: Labels) -> Labels:
        return tuple(
            self._admit((metric.name, at), label, value)
            for at, (label, value) in enumerate(zip(metric.labels, labels, strict=True))
        )

    def _admit(self, place: tuple[str, int], label: Label, value: str) -> str:
        seen = self._seen[place]
        if value in seen:
            return value
        if len(seen) >= label.most:
            return OTHER
        seen[value] = None
        return value


class Meters:
    """Counts what happens in this process; `sources` tell what can be read at any time. Safe to use from any thread."""

    def __init__(self, *, exemplars: bool = False) -> None:
        self.exemplars = exemplars
        """Whether they are kept."""
        self._lock = threading.Lock()
        self._admitted: dict[tuple[str, Labels], Labels] = {}
        self._bounds = _Bounds()
        self._counts: defaultdict[tuple[str, Labels], float] = defaultdict(float)
        self._distributions: dict[tuple[str, Labels], _Buckets] = {}
        self._sources: dict[str, Source] = {}
        self._named: dict[str, frozenset[Labels]] = {}
        """By metric, what had a name of its own on the last page."""

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        """Add to a counter of the catalogue."""
        with self._lock:
            self._counts[name, self._known(name, labels)] += by

    def observe(self, name: str, value: float, *labels: str, exemplar: Exemplar | None = None) -> None:
        """Add a value to a histogram of the catalogue. Of exemplars the last one of each bucket is kept, if any are."""
        metric = CATALOGUE[name]
        with self._lock:
            key = (name, self._known(name, labels))
            found = self._distributions.get(key)
            if found is None:
                found = self._distributions[key] = _Buckets(len(metric.buckets))
            bucket = bisect_left(metric.buckets, value)
            found.counts[bucket] += 1
            found.sum += value
            if exemplar is not None and self.exemplars:
                found.exemplars[bucket] = exemplar

    def tell(self, part: str, source: Source) -> None:
        """From now on this is asked too. `part` names it where it does not answer."""
        self._sources[part] = source

    def samples(self) -> list[Sample]:
        """All that is counted, and what the sources tell, with as many values of each label as it may have.

        Blocks as long as the sources do. One that fails is left out, and told of.
        """
        return [*self._counted(), *self._fitting(self._told())]

    def _fitting(self, samples: Iterable[Sample]) -> list[Sample]:
        """Whoever has a name keeps it for as long as it is told of: names do not come and go with the values."""
        found = bounded(samples, self._named)
        named: defaultdict[str, set[Labels]] = defaultdict(set)
        for sample in found:
            named[sample.name].add(sample.labels)
        self._named = {name: frozenset(labels) for name, labels in named.items()}
        return found

    def _known(self, name: str, labels: Labels) -> Labels:
        """These labels as far as there is room for them. What was let in once is found without judging it again."""
        if not labels:
            return labels
        found = self._admitted.get((name, labels))
        if found is None:
            found = self._bounds.admit(CATALOGUE[name], labels)
            if found == labels:  # so that what is refused leaves no trace
                self._admitted[name, labels] = found
        return found

    def _counted(self) -> list[Sample]:
        with self._lock:
            counts = [Sample(name, value, labels) for (name, labels), value in self._counts.items()]
            distributions = [
                Sample(name, found.seen(), labels) for (name, labels), found in self._distributions.items()
            ]
        return counts + distributions

    def _told(self) -> Iterator[Sample]:
        for part, source in list(self._sources.items()):
            try:
                found = _known(part, source())
            except Exception as error:  # noqa: BLE001 - whatever it is, the others are told
                log.warning("The metrics of %s could not be read: %s: %s", part, type(error).__name__, error)
                yield Sample("tidegate_metrics_missing", 1.0, (part,))
            else:
                yield from found


def _known(part: str, samples: Iterable[Sample]) -> list[Sample]:
    """Those that the catalogue has: one that it has forgotten must not cost the page."""
    told = list(samples)
    if unknown := {sample.name for sample in told if sample.name not in CATALOGUE}:
        log.warning("The catalogue of metrics has no %s, which %s tells.", ", ".join(sorted(unknown)), part)
        return [sample for sample in told if sample.name in CATALOGUE]
    return told


def bounded(samples: Iterable[Sample], named: Mapping[str, Collection[Labels]] = _NOBODY) -> list[Sample]:
    """The samples with at most as many values of each label as it may have: names go to those that are `named` already, then
    to those with the highest values. What has no room is put together under `other`, as its metric says.
    """
    by_metric: defaultdict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        by_metric[sample.name].append(sample)
    return [
        sample
        for name, found in by_metric.items()
        for sample in _fitting(CATALOGUE[name], found, named.get(name, ()))
    ]


def _fitting(metric: Metric, samples: list[Sample], named: Collection[Labels]) -> Iterable[Sample]:
    if all(
        len(samples) <= label.most or len({one.labels[at] for one in samples}) <= label.most
        for at, label in enumerate(metric.labels)
    ):
        return samples
    bounds = _Bounds()
    merged: dict[Labels, float] = {}
    for sample in sorted(samples, key=lambda one: (one.labels in named, _value(one)), reverse=True):
        labels, value = bounds.admit(metric, sample.labels), _value(sample)
        before = merged.get(labels)
        merged[labels] = value if before is None else _together(metric, before, value)
    return [Sample(metric.name, value, labels) for labels, value in merged.items()]


def _value(sample: Sample) -> float:
    assert not isinstance(sample.value, Distribution), "a source tells no distribution"
    return sample.value


def _together(metric: Metric, one: float, other: float) -> float:
    return max(one, other) if metric.together == "max" else one + other
