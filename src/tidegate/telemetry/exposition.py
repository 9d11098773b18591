"""How samples are written down for Prometheus: its text format, or OpenMetrics where that is asked for.

The one home of prometheus-client, which is loaded when somebody asks for the first time: it takes 3 MiB and a tenth of a
second, and most servers are never asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client.core import Metric as Family
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar as Shown

from tidegate.telemetry.catalogue import CATALOGUE, Metric
from tidegate.telemetry.meters import Distribution, Exemplar, Sample

__all__ = ["SampleCollector", "page"]

_OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
"""What is asked for as the encoder wants to hear it: it fails on a version that is none."""
PROCESS = "process"
"""The label that tells processes of one page apart."""


class SampleCollector(Collector):
    """For `registry.register(...)` of prometheus-client: what this tells whenever it is asked."""

    def __init__(self, samples: Callable[[], Iterable[Sample]]) -> None:
        self._samples = samples

    def collect(self) -> Iterator[Family]:
        yield from _families([("", self._samples())])


def page(processes: Iterable[tuple[str, Iterable[Sample]]], accept: str = "") -> tuple[bytes, str]:
    """What the processes tell, as one page, and its content type. A process without a name stands alone and gets no label.

    `accept` is that header of the request.
    """
    encode, content_type = choose_encoder(_OPEN_METRICS if "application/openmetrics-text" in accept else "")
    return encode(_Families(_families(processes))), content_type


class _Families(Collector):
    """What the encoders want of a registry."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def _families(processes: Iterable[tuple[str, Iterable[Sample]]]) -> list[Family]:
    """Grouped by metric, in the order of the catalogue, as the format wants it."""
    found: dict[str, Family] = {}
    for process, samples in processes:
        label = {PROCESS: process} if process else {}
        for sample in samples:
            metric = CATALOGUE.get(sample.name)
            if metric is None or not _fits(sample, metric):  # of another version, which shares the port
                continue
            family = found.get(metric.name)
            if family is None:
                family = found[metric.name] = Family(_family_name(metric), metric.help, metric.type)
            _add(family, metric, sample, label)
    return [found[name] for name in CATALOGUE if name in found]


def _fits(sample: Sample, metric: Metric) -> bool:
    if isinstance(sample.value, Distribution) and len(sample.value.counts) != len(metric.buckets) + 1:
        return False
    return len(sample.labels) == len(metric.labels)


def _family_name(metric: Metric) -> str:
    return metric.name.removesuffix("_total") if metric.type == "counter" else metric.name


def _add(family: Family, metric: Metric, sample: Sample, label: Mapping[str, str]) -> None:
    names = (each.name for each in metric.labels)
    labels = {**dict(zip(names, sample.labels, strict=True)), **label}
    if not isinstance(sample.value, Distribution):
        family.add_sample(metric.name, labels, sample.value)
        return
    total = 0
    for bucket, count in enumerate(sample.value.counts):
        total += count
        le = repr(metric.buckets[bucket]) if bucket < len(metric.buckets) else "+Inf"
        exemplar = _exemplar(sample.value.exemplars.get(bucket))
        family.add_sample(f"{metric.name}_bucket", {**labels, "le": le}, total, exemplar=exemplar)
    family.add_sample(f"{metric.name}_count", labels, total)
    family.add_sample(f"{metric.name}_sum", labels, sample.value.sum)


def _exemplar(found: Exemplar | None) -> Shown | None:
    """Prometheus's text format has none; the encoder leaves them out there."""
    return None if found is None else Shown({"trace_id": found.trace_id}, found.value, found.at_s)
