"""The catalogue of metrics: every figure that Prometheus can read, in one table. docs/metrics.md is written from it.

A label has a most number of values, above which whatever else comes is told as `other`: how much there is to keep does not
grow with queues, workers or users. No label names a user or a job.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import Literal, NamedTuple

__all__ = ["CATALOGUE", "OTHER", "READINGS", "Label", "Metric", "Teller", "Together"]

OTHER = "other"
"""The value of a label for all that it has no room for."""

Together = Literal["sum", "max"]


class Teller(Enum):
    """Whose figure it is."""

    PROCESS = "each process its own: add them up"
    FELT = "each process its own, of its machine: take the worst"
    SERVICE = "each server the same of the whole service: take the highest"
    SERVER = "each server its own"
    WORKER = "each worker, and a server with a worker inside: add them up"


class Label(NamedTuple):
    """One label: how many values it has at most, and what they are."""

    name: str
    most: int
    meaning: str


class Metric(NamedTuple):
    """One metric. `together`: how the values are put together that share the label value `other`."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[Label, ...] = ()
    teller: Teller = Teller.PROCESS
    buckets: tuple[float, ...] = ()
    together: Together = "sum"


KIND = Label("kind", 32, "kind of job, such as `sql`")
QUEUE = Label("queue", 100, "name of the queue")
STATUS = Label("status", 8, "`succeeded`, `failed` or `cancelled`")
REASON = Label("reason", 16, "`succeeded`, or the exit reason of docs/glossary.md")
WORKER = Label("worker", 500, "id of the worker")
WORK = Label("work", 8, "kind of request: `control`, `submit`, `read`, `run`, `stream`")
CODE = Label("code", 40, "code of the problem, as in docs/api.md")
EXECUTOR = Label("executor", 16, "`read`, `look`, `sandboxes`, `cpu` or `io`")

REQUEST_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
PASS_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
RUN_BUCKETS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0)

READINGS: Mapping[str, str] = {
    "memory_used_percent": "Memory in use of what bounds it here, page cache apart.",
    "memory_used_bytes": "The same in bytes.",
    "memory_limit_bytes": "What bounds memory here: the tightest control group, or the machine.",
    "memory_free_bytes": "Memory that is free of it.",
    "memory_cache_bytes": "Page cache that is left out of what is used.",
    "memory_stall_some_percent": "Share of the last 10 s in which some task waited for memory.",
    "memory_stall_full_percent": "Share of the last 10 s in which all tasks waited for memory.",
    "memory_stall_full_minute_percent": "The same over the last 60 s.",
    "cpu_busy_percent": "CPU in use of what may be used here.",
    "cpu_stall_percent": "Share of the last 10 s in which the service itself waited for a CPU.",
    "cpu_stall_all_percent": "The same of all tasks here, jobs among them.",
    "io_stall_percent": "Share of the last 10 s in which all tasks waited for a disk.",
    "read_bytes_per_s": "Bytes read from disks in a second.",
    "written_bytes_per_s": "Bytes written to disks in a second.",
    "disk_free_percent": "Free share of the file system with the data directory.",
    "disk_free_bytes": "The same in bytes.",
    "loop_lag_s": "How late the event loop of the API gets to what is due.",
    "sojourn_s": "Least time that a request had to wait for its turn.",
    "thread_wait_s": "The same before the threads that read the store.",
    "database_p95_s": "How long a small question to the database takes, 95th percentile of the last 10 s.",
    "database_silent_s": "For how long the database has owed an answer.",
    "redis_p95_s": "How long a small question to Redis takes, 95th percentile of the last 10 s.",
    "redis_silent_s": "For how long Redis has owed an answer.",
}
"""What is told of each reading of `core.readings`."""


def reading_metric(name: str) -> tuple[str, float]:
    """Under which name a reading is told, and what to multiply it with: percents as ratios, all else in base units."""
    for end, told, factor in (
        ("_percent", "_ratio", 0.01),
        ("_bytes_per_s", "_bytes_per_second", 1.0),
        ("_p95_s", "_answer_seconds", 1.0),
        ("_s", "_seconds", 1.0),
    ):
        if name.endswith(end):
            return f"tidegate_pressure_{name.removesuffix(end)}{told}", factor
    return f"tidegate_pressure_{name}", 1.0


def _amounts() -> Iterable[Metric]:
    for state, words in (
        ("allocatable", "What the worker offers to jobs"),
        ("allocated", "What running attempts hold of it"),
        ("available", "What is left of it"),
    ):
        for unit, what in (("cpus", "CPUs"), ("memory_bytes", "memory"), ("disk_bytes", "scratch disk")):
            yield Metric(
                f"tidegate_worker_{state}_{unit}", "gauge", f"{words}: {what}.", (WORKER,), Teller.SERVICE
            )


def _readings() -> Iterable[Metric]:
    for name, text in READINGS.items():
        yield Metric(reading_metric(name)[0], "gauge", text, (), Teller.FELT, together="max")


_METRICS: tuple[Metric, ...] = (
    # What becomes of jobs
    Metric("sql_linting_jobs_total", "counter", "Jobs of all kinds that have ended.", (STATUS,)),
    Metric("sql_linting_tasks_total", "counter", "Tasks of all kinds that have ended.", (STATUS,)),
    Metric(
        "sql_linting_active_jobs", "gauge", "Jobs of all kinds of which something runs.", (), Teller.SERVICE
    ),
    Metric("tidegate_jobs_accepted_total", "counter", "Jobs that were stored.", (KIND, QUEUE)),
    Metric("tidegate_jobs_total", "counter", "Jobs that have ended.", (KIND, QUEUE, STATUS)),
    Metric("tidegate_tasks_total", "counter", "Tasks that have ended.", (KIND, QUEUE, STATUS)),
    Metric("tidegate_attempts_total", "counter", "Attempts that have ended.", (KIND, QUEUE, REASON)),
    Metric(
        "tidegate_attempt_duration_seconds", "histogram", "How long attempts ran.", (KIND,), buckets=RUN_BUCKETS
    ),
    Metric("tidegate_attempt_cpu_seconds_total", "counter", "CPU time of attempts that have ended.", (KIND, QUEUE)),
    Metric("tidegate_starts_total", "counter", "Attempts that were started.", (QUEUE,)),
    Metric(
        "tidegate_kept_results_total", "counter",
        "Tasks whose result could be kept, by whether it was known (`hit`) or had to be made (`miss`).",
        (KIND, Label("outcome", 2, "`hit` or `miss`")),
    ),
    # Queues
    Metric("tidegate_queue_waiting_tasks", "gauge", "Tasks that wait.", (QUEUE,), Teller.SERVICE),
    Metric("tidegate_queue_running_tasks", "gauge", "Tasks that run.", (QUEUE,), Teller.SERVICE),
    Metric("tidegate_queue_paused", "gauge", "1 while the queue is paused.", (QUEUE,), Teller.SERVICE, together="max"),
    Metric(
        "tidegate_queue_oldest_wait_seconds", "gauge", "For how long the task waits that waits for longest.", (QUEUE,),
        Teller.SERVICE, together="max",
    ),
    # Workers
    Metric("tidegate_workers", "gauge", "Workers that have registered and not left.",
           (Label("state", 3, "`online`, `draining` or `silent`"),), Teller.SERVICE),
    *_amounts(),
    Metric("tidegate_worker_running_attempts", "gauge", "Attempts that hold something there.", (WORKER,), Teller.SERVICE),
    Metric("tidegate_worker_silent_seconds", "gauge", "Since its last beat.", (WORKER,), Teller.SERVICE, together="max"),
    Metric("tidegate_worker_pressure_level", "gauge", "Level at its last beat: 0 normal to 3 emergency.", (WORKER,),
           Teller.SERVICE, together="max"),
    Metric("tidegate_attempts_running", "gauge", "Sandboxes in which an attempt runs.", (), Teller.WORKER),
    Metric("tidegate_attempts_memory_bytes", "gauge", "Highest memory so far of the attempts that run, added up.", (),
           Teller.WORKER),
    Metric("tidegate_zygotes", "gauge", "1 while the warm parent of all sandboxes lives.", (), Teller.WORKER),
    Metric("tidegate_keepers", "gauge", "Processes that each watch over one sandbox at a time.", (), Teller.WORKER),
    # Pressure
    Metric("tidegate_pressure_level", "gauge", "Level of pressure felt here: 0 normal to 3 emergency.",
           (Label("dial", 2, "`machine` as jobs feel it, `service` as requests do"),),
           Teller.FELT, together="max"),
    *_readings(),
    # The API
    Metric("sql_linting_request_duration_seconds", "histogram",
           "How long HTTP requests took, from their head to the end of their answer; without streams and `/health`.",
           (WORK, Label("status", 6, "class of the answer, such as `2xx`; `none` without one")), Teller.SERVER,
           buckets=REQUEST_BUCKETS),
    Metric("tidegate_http_requests_total", "counter", "HTTP requests that were answered, without `/health`.",
           (WORK, Label("status", 6, "class of the answer, such as `2xx`; `none` without one")), Teller.SERVER),
    Metric("tidegate_http_requests_under_way", "gauge", "Requests that have passed a gate.", (WORK,), Teller.SERVER),
    Metric("tidegate_http_requests_waiting", "gauge", "Requests that wait before a gate.", (WORK,), Teller.SERVER),
    Metric("tidegate_http_requests_limit", "gauge", "How many may be under way at once.", (WORK,), Teller.SERVER),
    Metric("tidegate_http_requests_shed_total", "counter", "Requests that a gate has refused.", (WORK,), Teller.SERVER),
    Metric("tidegate_submissions_refused_total", "counter", "Jobs that were not taken.", (CODE,), Teller.SERVER),
    # Parts of the service
    Metric("tidegate_cycle_pass_seconds", "histogram", "How long passes of the scheduler took.", (), Teller.SERVER,
           buckets=PASS_BUCKETS),
    Metric("tidegate_leader", "gauge", "1 of the server that schedules, else 0.", (), Teller.SERVER),
    Metric("tidegate_safe_mode", "gauge", "1 while nothing is started or taken in.", (), Teller.SERVICE, together="max"),
    Metric("tidegate_part_up", "gauge", "0 while a part of this process is down or stands still.",
           (Label("part", 32, "name of the part, such as `cycle`"),), Teller.SERVER),
    Metric("tidegate_crashes_total", "counter", "Crashes of parts of this process.",
           (Label("part", 32, "name of the part, such as `zygote`"),)),
    Metric("tidegate_alerts", "gauge", "Alerts that have not ended.",
           (Label("rule", 64, "name of the rule, as in docs/alerts.md"), Label("level", 4, "`warning`, `severe` or `danger`")),
           Teller.SERVICE),
    Metric("tidegate_executor_size", "gauge", "Calls that run at most at once.", (EXECUTOR,)),
    Metric("tidegate_executor_active", "gauge", "Calls that run.", (EXECUTOR,)),
    Metric("tidegate_executor_queued", "gauge", "Calls that wait for their turn.", (EXECUTOR,)),
    Metric("tidegate_executor_calls_total", "counter", "Calls that ended, by how.",
           (EXECUTOR, Label("outcome", 3, "`completed`, `failed` or `cancelled`"))),
    Metric("tidegate_store_connections", "gauge", "Connections to the database.",
           (Label("engine", 8, "name of the pool"), Label("state", 2, "`used` or `free`")), Teller.SERVER),
    # The process
    Metric("tidegate_build_info", "gauge", "Always 1.",
           (Label("version", 1, "of Tidegate"), Label("role", 2, "`server` or `worker`"))),
    Metric("tidegate_metrics_missing", "gauge", "1 for a part of this page that could not be read in time, such as `store` "
           "while the database does not answer.", (Label("part", 16, "name of the part"),)),
    Metric("process_cpu_seconds_total", "counter", "User and system CPU time of this process."),
    Metric("process_resident_memory_bytes", "gauge", "Resident memory of this process."),
    Metric("process_virtual_memory_bytes", "gauge", "Virtual memory of this process."),
    Metric("process_start_time_seconds", "gauge", "When it began, in seconds since 1970."),
    Metric("process_open_fds", "gauge", "Open descriptors."),
    Metric("process_max_fds", "gauge", "How many it may have."),
    Metric("process_threads", "gauge", "Threads."),
)  # fmt: skip

CATALOGUE: Mapping[str, Metric] = {metric.name: metric for metric in _METRICS}
"""All metrics, by name."""
