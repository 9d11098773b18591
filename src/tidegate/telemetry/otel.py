"""Traces by OpenTelemetry, sent by OTLP over HTTP. The one home of its SDK, of the extra `otel`; loaded where it is wanted.

What the SDK reads of the environment holds: `OTEL_SERVICE_NAME`, `OTEL_TRACES_SAMPLER`, `OTEL_EXPORTER_OTLP_HEADERS` and more.
"""

from __future__ import annotations

from datetime import datetime
from importlib.metadata import version

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from tidegate.telemetry.secrets import masked
from tidegate.telemetry.tracing import TRACEPARENT, Attributes

__all__ = ["OtelTracing", "exporter_to"]

_carrier = TraceContextTextMapPropagator()
CLOSES_WITHIN_MS = 3000


def exporter_to(endpoint: str) -> SpanExporter:
    """Sends spans to a collector, such as `http://127.0.0.1:4318`."""
    return OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces")


class OtelTracing:
    """Tells spans to an exporter, on a thread of its own: nobody waits for a collector, and what it does not take is lost.

    `role` is `server` or `worker`. Nothing is registered for the whole process: libraries do not begin to trace by it.
    """

    on = True

    def __init__(self, exporter: SpanExporter, role: str) -> None:
        about = Resource.create({"service.version": version("tidegate"), "tidegate.role": role})
        if str(about.attributes[SERVICE_NAME]).startswith("unknown_service"):
            about = about.merge(Resource({SERVICE_NAME: "tidegate"}))
        self._provider = TracerProvider(resource=about, shutdown_on_exit=False)
        self._processor = BatchSpanProcessor(exporter)
        self._provider.add_span_processor(self._processor)
        self._tracer = self._provider.get_tracer("tidegate")

    def begin(self, name: str, parent: str | None, at: datetime | None = None) -> _OtelSpan:
        context = Context() if parent is None else _carrier.extract({TRACEPARENT: parent}, Context())
        return _OtelSpan(self._tracer.start_span(name, context=context, start_time=_nanoseconds(at)))

    def flush(self) -> None:
        """Send what has ended so far."""
        self._provider.force_flush(CLOSES_WITHIN_MS)

    def close(self) -> None:
        self.flush()
        self._provider.shutdown()


class _OtelSpan:
    def __init__(self, span: trace.Span) -> None:
        self._span = span

    @property
    def context(self) -> str | None:
        carried: dict[str, str] = {}
        _carrier.inject(carried, trace.set_span_in_context(self._span, Context()))
        return carried.get(TRACEPARENT)

    def end(
        self, at: datetime | None = None, attributes: Attributes | None = None, error: str | None = None
    ) -> None:
        self._span.set_attributes({name: masked(name, value) for name, value in (attributes or {}).items()})
        if error is not None:
            self._span.set_status(trace.StatusCode.ERROR, masked("", error))
        self._span.end(_nanoseconds(at))


def _nanoseconds(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1_000_000) * 1000
