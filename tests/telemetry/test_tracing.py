"""One trace from a request to the attempts that came of it."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx2
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from tests.api.support import serving, world_in
from tests.telemetry.collector import collecting
from tidegate.app.server import Server
from tidegate.app.wiring import tracing
from tidegate.core.attempt import Exit
from tidegate.core.job import AttemptKey
from tidegate.core.states import ExitReason
from tidegate.errors import SettingError
from tidegate.runtime.attempt_spans import AttemptSpans
from tidegate.server.tracing import PlanSpans
from tidegate.settings import Settings
from tidegate.telemetry.otel import OtelTracing, exporter_to
from tidegate.telemetry.tracing import NO_TRACING, traceparent_of, with_traceparent
from tidegate.testing.conformance.world import World
from tidegate.testing.memory_store import MemoryStore

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = f"00-{TRACE}-b7ad6b7169203331-01"


class Told(NamedTuple):
    """A tracing whose spans are kept here."""

    tracing: OtelTracing
    exporter: InMemorySpanExporter

    def spans(self) -> dict[str, ReadableSpan]:
        """The newest of each name."""
        self.tracing.flush()
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def told() -> Iterator[Told]:
    exporter = InMemorySpanExporter()
    tracing = OtelTracing(exporter, "server")
    yield Told(tracing, exporter)
    tracing.close()


def parent_of(span: ReadableSpan) -> str | None:
    return None if span.parent is None else format_span_id(span.parent.span_id)


def id_of(span: ReadableSpan) -> str:
    assert span.context is not None
    return format_span_id(span.context.span_id)


@pytest.fixture(params=[True])
def exemplars(request: pytest.FixtureRequest) -> bool:
    """Whether the server shows them."""
    return bool(request.param)


@pytest.fixture
def server(tmp_path: Path, told: Told, exemplars: bool) -> Iterator[str]:
    """The address of a real server with its worker."""
    thresholds = gc.get_threshold()
    settings = Settings(
        data_dir=tmp_path / "data",
        yield_cpu="off",
        grace_s=0.5,
        enable_commands=True,
        metrics_exemplars=exemplars,
    )
    server = Server(settings, tracing=told.tracing)
    app = server.start()
    try:
        with serving(app) as url:
            yield url
    finally:
        server.stop()
        gc.unfreeze()
        gc.set_threshold(*thresholds)


@pytest.mark.parametrize("given", [PARENT, None])
def test_a_job_is_one_trace_from_its_request_to_what_its_program_sees(
    server: str, told: Told, given: str | None
):
    fields = {"kind": "command", "argv": ["sh", "-c", "echo parent=$TRACEPARENT"]}
    headers = {} if given is None else {"traceparent": given}
    with httpx2.Client(base_url=server, timeout=60) as http:
        answer = http.post("/api/v1/jobs", json=fields, headers=headers)
        assert answer.status_code == 202, answer.text
        job = answer.json()["job_id"]
        assert http.get(f"/api/v1/jobs/{job}", params={"wait_s": 50}).json()["job_status"] == "SUCCEEDED"
        printed = http.get(f"/api/v1/jobs/{job}/logs").text
    spans = told.spans()
    request = spans["POST /api/v1/jobs"]
    assert request.context is not None
    trace = format_trace_id(request.context.trace_id)
    assert set(spans) == {"POST /api/v1/jobs", "intake", "plan", "launch", "attempt"}
    assert {format_trace_id(span.context.trace_id) for span in spans.values() if span.context} == {trace}
    assert answer.headers["traceparent"].startswith(f"00-{trace}-{id_of(request)}-0")
    if given is not None:
        assert (trace, parent_of(request)) == (TRACE, "b7ad6b7169203331")
    else:
        assert parent_of(request) is None
    assert {parent_of(spans[name]) for name in ("intake", "plan", "launch", "attempt")} == {id_of(request)}
    attempt = spans["attempt"]
    assert f"parent=00-{trace}-{id_of(attempt)}-0" in printed
    assert attempt.attributes is not None
    assert attempt.attributes["tidegate.job_id"] == job
    assert attempt.attributes["tidegate.reason"] == "succeeded"
    begins = [spans[name].start_time or 0 for name in ("POST /api/v1/jobs", "intake", "plan", "launch")]
    assert begins == sorted(begins)


OPEN_METRICS = {"accept": "application/openmetrics-text; version=1.0.0"}


@pytest.mark.parametrize("exemplars", [True, False], indirect=True)
def test_the_buckets_of_requests_name_the_trace_of_the_last_submission(server: str, exemplars: bool):
    with httpx2.Client(base_url=server, timeout=60) as http:
        answer = http.post("/api/v1/jobs", json={"kind": "sql", "sql": "select 1"})
        trace = answer.headers["traceparent"].split("-")[1]
        page = http.get("/metrics", headers=OPEN_METRICS).text
        plain = http.get("/metrics").text
    buckets = [line for line in page.splitlines() if f'# {{trace_id="{trace}"}}' in line]
    assert len(buckets) == exemplars
    for line in buckets:
        assert line.startswith("sql_linting_request_duration_seconds_bucket{")
        assert 'work="submit"' in line
    assert "trace_id" not in plain
    assert page.endswith("# EOF\n")


def test_an_attempt_that_ends_its_process_has_its_span(server: str, told: Told):
    fields = {"kind": "command", "argv": ["sh", "-c", "kill -9 $$"]}
    with httpx2.Client(base_url=server, timeout=60) as http:
        job = http.post("/api/v1/jobs", json=fields, headers={"traceparent": PARENT}).json()["job_id"]
        assert http.get(f"/api/v1/jobs/{job}", params={"wait_s": 50}).json()["job_status"] == "FAILED"
    attempt = told.spans()["attempt"]
    assert attempt.attributes is not None
    assert attempt.attributes["tidegate.reason"] == "signal"
    assert not attempt.status.is_ok


def test_in_a_cluster_the_store_says_to_which_trace_a_start_belongs(told: Told):
    world = World(MemoryStore())
    traced = world.submit(spec=with_traceparent({}, PARENT))
    world.submit()
    starts = world.commit(world.plan())
    assert [start.assignment for start in starts] == [None, None]
    spans = PlanSpans(told.tracing, world.store)
    gone = starts[0]._replace(key=AttemptKey(999, 1, 1))
    spans.started([gone, *starts], world.now, world.now, world.now)
    spans.close()
    told.tracing.flush()
    found = told.exporter.get_finished_spans()
    assert [span.name for span in found] == ["plan", "launch"]
    assert {(span.attributes or {})["tidegate.job_id"] for span in found} == {str(traced)}


def test_an_attempt_of_no_trace_begins_none_and_one_that_waited_begins_once(told: Told):
    world = World(MemoryStore())
    world.submit()
    (plain,) = world.claim()
    world.submit(spec=with_traceparent({}, PARENT))
    (traced,) = world.claim()
    spans = AttemptSpans()
    spans.tracing = told.tracing
    assert spans.begin([plain], world.now) == [plain]
    (begun,) = spans.begin([traced], world.now)
    assert traceparent_of(begun.spec) != PARENT
    assert spans.begin([begun], world.now) == [begun]
    spans.end(begun.key, world.now, Exit(ExitReason.ERROR, "password=swordfish was wrong"))
    spans.end(begun.key, world.now, None)
    told.tracing.flush()
    (span,) = told.exporter.get_finished_spans()
    assert span.status.description == "password=*** was wrong"
    spans.tracing = NO_TRACING
    assert spans.begin([traced], world.now) == [traced]


def test_without_tracing_nothing_is_begun_loaded_or_answered(tmp_path: Path):
    with world_in(tmp_path) as world:
        answer = world.http.post(
            "/api/v1/jobs", json={"kind": "sql", "sql": "select 1"}, headers={"traceparent": PARENT}
        )
        assert "traceparent" not in answer.headers
        job = world.service.store.job(int(answer.json()["job_id"]))
        assert traceparent_of(job.spec) is None
    code = (
        "import sys, tidegate.app.server, tidegate.app.serving, tidegate.app.worker; "
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'google'))])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{'0' * 16}-01"])
def test_a_header_that_is_no_trace_begins_one(told: Told, given: str):
    span = told.tracing.begin("request", given)
    assert span.context is not None
    assert span.context.split("-")[1] != "0" * 32
    span.end()


def test_spans_reach_a_collector(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OTEL_SERVICE_NAME", raising=False)
    with collecting() as collector:
        tracing = OtelTracing(exporter_to(f"{collector.url}/"), "worker")
        tracing.begin("attempt", PARENT).end()
        tracing.close()
    assert collector.paths == ["/v1/traces"]
    ((span, about),) = collector.received
    assert (about["service.name"], about["tidegate.role"]) == ("tidegate", "worker")
    assert (span.name, span.trace_id.hex()) == ("attempt", TRACE)


def test_a_collector_without_the_extra_is_told(monkeypatch: pytest.MonkeyPatch):
    for name in [*sys.modules]:
        if name == "tidegate.telemetry.otel":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.resources", None)
    settings = Settings(otel_endpoint="http://127.0.0.1:4318")
    with pytest.raises(SettingError, match=r"Install tidegate\[otel\]"):
        tracing(settings, "server")
    assert tracing(replace_endpoint(settings), "server") is NO_TRACING


def replace_endpoint(settings: Settings) -> Settings:
    return settings.model_copy(update={"otel_endpoint": None})
