"""What is counted and told, and that it stays bounded."""

from __future__ import annotations

import math
import re
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tidegate.core.readings import NAMES
from tidegate.telemetry.catalogue import CATALOGUE, OTHER, READINGS, reading_metric
from tidegate.telemetry.exposition import page
from tidegate.telemetry.meters import Distribution, Exemplar, Meters, Sample, bounded

QUEUES = CATALOGUE["tidegate_queue_waiting_tasks"].labels[0].most


def of(samples: list[Sample], name: str) -> dict[tuple[str, ...], float]:
    return {one.labels: float(one.value) for one in samples if one.name == name}  # type: ignore[arg-type]


def test_ten_thousand_queues_have_as_many_series_as_a_hundred_and_the_same_sum():
    meters = Meters()
    for number in range(10_000):
        meters.count("tidegate_jobs_accepted_total", "sql", f"queue-{number}")
        meters.count("tidegate_attempts_total", "sql", f"queue-{number}", "succeeded")
    found = of(meters.samples(), "tidegate_jobs_accepted_total")
    assert len(found) == QUEUES + 1
    assert found["sql", OTHER] == 10_000 - QUEUES
    assert sum(found.values()) == 10_000
    assert len(meters._admitted) == 2 * QUEUES  # what was refused leaves no trace


def test_what_is_told_is_bounded_too_by_the_highest_values():
    meters = Meters()
    meters.tell(
        "store", lambda: (Sample("tidegate_queue_waiting_tasks", n, (f"q{n}",)) for n in range(10_000))
    )
    found = of(meters.samples(), "tidegate_queue_waiting_tasks")
    assert found == {
        **{(f"q{n}",): float(n) for n in range(10_000 - QUEUES, 10_000)},
        (OTHER,): float(sum(range(10_000 - QUEUES))),
    }


def test_who_has_a_name_keeps_it_while_it_is_there():
    waits = Counter({f"q{n}": 1 for n in range(QUEUES)})
    meters = Meters()
    meters.tell(
        "store",
        lambda: [Sample("tidegate_queue_waiting_tasks", value, (name,)) for name, value in waits.items()],
    )
    first = of(meters.samples(), "tidegate_queue_waiting_tasks")
    waits.update({f"new{n}": 1000 for n in range(50)})
    again = of(meters.samples(), "tidegate_queue_waiting_tasks")
    assert again.keys() == first.keys() | {(OTHER,)}
    del waits["q0"]
    assert (
        len([name for (name,) in of(meters.samples(), "tidegate_queue_waiting_tasks") if "new" in name]) == 1
    )


def test_waits_that_share_a_name_are_told_by_the_longest():
    most = CATALOGUE["tidegate_queue_oldest_wait_seconds"].labels[0].most
    told = [Sample("tidegate_queue_oldest_wait_seconds", float(n), (f"q{n}",)) for n in range(most + 5)]
    assert of(bounded(told), "tidegate_queue_oldest_wait_seconds")[OTHER,] == 4.0


def test_no_metric_names_a_user_or_a_job():
    labels = {label.name for metric in CATALOGUE.values() for label in metric.labels}
    assert not labels & {"owner", "user", "user_id", "job", "job_id", "task", "task_id", "request_id", "key"}


def test_what_cannot_be_read_is_told_of_and_costs_nothing_else():
    def broken() -> list[Sample]:
        raise OSError("away")

    meters = Meters()
    meters.tell("store", broken)
    meters.tell("server", lambda: [Sample("tidegate_leader", 1.0)])
    samples = meters.samples()
    assert Sample("tidegate_metrics_missing", 1.0, ("store",)) in samples
    assert Sample("tidegate_leader", 1.0) in samples


def test_a_metric_that_the_catalogue_has_forgotten_costs_only_itself(caplog: pytest.LogCaptureFixture):
    meters = Meters()
    meters.tell("server", lambda: [Sample("tidegate_forgotten", 1.0), Sample("tidegate_leader", 1.0)])
    assert meters.samples() == [Sample("tidegate_leader", 1.0)]
    assert "has no tidegate_forgotten, which server tells" in caplog.text


def test_counts_of_many_threads_are_all_there():
    meters = Meters()

    def work() -> None:
        for number in range(2000):
            meters.count("tidegate_starts_total", f"q{number % 7}")
            meters.observe("tidegate_cycle_pass_seconds", 0.003)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    samples = meters.samples()
    assert (
        sum(of([s for s in samples if s.name == "tidegate_starts_total"], "tidegate_starts_total").values())
        == 8000
    )
    (passes,) = (s.value for s in samples if s.name == "tidegate_cycle_pass_seconds")
    assert isinstance(passes, Distribution)
    assert sum(passes.counts) == 8000


@given(st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=200))
def test_a_histogram_counts_each_value_once_up_to_its_bucket(values: list[float]):
    meters = Meters()
    for value in values:
        meters.observe("tidegate_cycle_pass_seconds", value)
    body, _ = page([("", meters.samples())])
    (family,) = parse_text(body.decode())
    told = {s.labels.get("le", s.name.rpartition("_")[2]): s.value for s in family.samples}
    for bound in CATALOGUE["tidegate_cycle_pass_seconds"].buckets:
        assert told[repr(bound)] == sum(value <= bound for value in values)
    assert told["+Inf"] == told["count"] == len(values)
    assert told["sum"] == pytest.approx(math.fsum(values))


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_name_comes_back_as_it_was(queue: str, kind: str):
    meters = Meters()
    meters.count("tidegate_jobs_accepted_total", kind, queue)
    body, content_type = page([("server-0", meters.samples())], "application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    (family,) = parse_openmetrics(body.decode())
    assert family.samples[0].labels == {"kind": kind, "queue": queue, "process": "server-0"}


def test_processes_of_one_page_are_told_apart_and_each_metric_is_described_once():
    told = [Sample("tidegate_leader", 1.0), Sample("process_threads", 9.0)]
    newer = [
        Sample("tidegate_of_a_newer_version", 1.0),
        Sample("tidegate_leader", 1.0, ("newer",)),
        Sample("tidegate_cycle_pass_seconds", Distribution((1,), 0.1)),
    ]
    body, content_type = page([("server-0", told), ("server-1", [*told, *newer])])
    assert content_type.startswith("text/plain")
    text = body.decode()
    assert text.count("# TYPE tidegate_leader gauge") == 1
    assert 'tidegate_leader{process="server-0"} 1.0\ntidegate_leader{process="server-1"} 1.0\n' in text
    assert "newer" not in text
    assert "cycle_pass" not in text


def test_every_reading_has_a_metric_in_base_units():
    assert tuple(READINGS) == NAMES
    for name in NAMES:
        told, factor = reading_metric(name)
        assert told in CATALOGUE
        assert re.search(r"(_ratio|_bytes|_seconds|_bytes_per_second)$", told), told
        assert (factor == 0.01) == name.endswith("_percent")


def test_the_catalogue_keeps_to_the_rules_of_names():
    for metric in CATALOGUE.values():
        assert metric.name.startswith(("tidegate_", "sql_linting_", "process_"))
        assert (metric.type == "counter") == metric.name.endswith("_total"), metric.name
        assert metric.help.endswith("."), metric.name
        assert (metric.type == "histogram") == bool(metric.buckets), metric.name
        assert list(metric.buckets) == sorted(metric.buckets)


def test_exemplars_are_kept_where_they_are_wanted_and_shown_in_openmetrics():
    trace = Exemplar("ab" * 16, 0.3, 1_700_000_000.5)
    for wanted in (True, False):
        meters = Meters(exemplars=wanted)
        meters.observe("tidegate_attempt_duration_seconds", 0.3, "sql", exemplar=trace)
        meters.observe("tidegate_attempt_duration_seconds", 40.0, "sql")
        body, _ = page([("", meters.samples())], "application/openmetrics-text; version=1.0.0")
        (family,) = parse_openmetrics(body.decode())
        shown = [sample.exemplar for sample in family.samples if sample.exemplar is not None]
        expected = [({"trace_id": trace.trace_id}, trace.value, trace.at_s)] if wanted else []
        assert [(one.labels, one.value, float(one.timestamp)) for one in shown] == expected
