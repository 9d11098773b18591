"""The shapes that OpenAPI shows, with examples; bodies of rare requests are also validated by them.

Answers are made by `views` and not validated again: tests hold them to these shapes.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, JsonValue

Item = TypeVar("Item")
JobStatusText = Literal["ACCEPTED", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
TaskStateText = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]


class Shape(BaseModel):
    """Base of what comes in: unknown fields are refused, NaN is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Problem(BaseModel):
    """Every error, as RFC 9457 has it. `numbers` holds the figures of the detail."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:tidegate:problem:never_fits",
                "title": "It can never fit",
                "status": 422,
                "detail": "This job can never start: it asks for 12 GiB of memory, worker 'local' can give at most "
                "9.5 GiB. Lower `memory` or add a worker.",
                "code": "never_fits",
                "asked": 12884901888,
                "limit": 10200547328,
                "numbers": {"resource": "memory", "asked": 12884901888, "limit": 10200547328},
            }
        },
    )
    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; for programs.")
    field: str | None = Field(None, description="The field or parameter that is wrong.")
    asked: float | str | None = None
    limit: float | str | None = None
    retry_after_s: float | None = None
    numbers: dict[str, float | str] = Field(description="The figures of the detail, named with their units.")


class JobRequest(BaseModel):
    """A submission: the common fields, and beside them those of its kind."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "kind": "sql",
                "sql": "select city, count(*) as trips from trips group by city",
                "result_name": "by_city",
                "priority": "high",
                "memory": "1GiB",
            }
        },
    )
    kind: str = Field(description="The kind of job, such as `sql`.")
    name: str | None = Field(None, max_length=200)
    queue: str | None = Field(None, description="Default: the kind's own queue.")
    priority: Literal["low", "normal", "high"] = "normal"
    cpus: float | str | None = Field(None, description="Number of CPUs, such as 2 or 0.5.")
    memory: int | str | None = Field(None, description="Bytes, or text such as `2GiB`.")
    disk: int | str | None = Field(None, description="Scratch disk: bytes, or text such as `10GiB`.")
    timeout_s: float | None = Field(None, gt=0)
    max_attempts: int | None = Field(None, ge=1, le=100)
    labels: dict[str, str] | None = Field(None, description="Labels that the worker must have.")
    not_before: str | None = Field(None, description="Earliest start, ISO 8601 with zone.")
    sql: str | None = Field(None, description="Kind `sql`: one SELECT over sources by name.")
    result_name: str | None = Field(None, description="Kind `sql`: source name for the result.")


class BulkRequest(BaseModel):
    """Many submissions at once."""

    jobs: list[JobRequest]


class JobLinks(BaseModel):
    self: str
    cancel: str
    events: str
    logs: str
    result: str
    tasks: str


class Submitted(BaseModel):
    """A stored submission."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "job_id": "81",
                "job_status": "ACCEPTED",
                "position": 3,
                "created": True,
                "links": {
                    "self": "/api/v1/jobs/81",
                    "cancel": "/api/v1/jobs/81/cancel",
                    "events": "/api/v1/jobs/81/events",
                    "logs": "/api/v1/jobs/81/logs",
                    "result": "/api/v1/jobs/81/result",
                    "tasks": "/api/v1/jobs/81/tasks",
                },
            }
        }
    )
    job_id: str
    job_status: JobStatusText
    position: int = Field(description="Place in its queue, 1 is next; 0 when the job was there already.")
    created: bool = Field(description="False when the idempotency key was used for the same request before.")
    links: JobLinks


class BulkItem(BaseModel):
    """The answer to one of many: a stored job, or the problem it was refused with."""

    job_id: str | None = None
    job_status: JobStatusText | None = None
    position: int | None = None
    problem: Problem | None = None


class BulkAnswer(BaseModel):
    """One item for each job, in their order."""

    accepted: int
    refused: int
    items: list[BulkItem]


class Request(BaseModel):
    """What the job asked for, or was given by default."""

    cpus: float
    memory_bytes: int
    disk_bytes: int
    labels: dict[str, str]


class Usage(BaseModel):
    """What was used, and by which rung of the ladder its limits were held; null where nothing could tell."""

    peak_memory_bytes: int | None = None
    peak_memory_with_cache_bytes: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None
    read_bytes: int | None = None
    written_bytes: int | None = None
    enforced_by: str | None = None


class Exit(BaseModel):
    """Why it ended without success, with the numbers."""

    reason: str
    message: str
    limit: float | None = None
    observed: float | None = None
    enforced_by: str | None = Field(None, description="The rung of the ladder of limits that held it.")
    code: str | None = Field(
        None, description="Finer code of an error inside the job, such as `unknown_column`."
    )


class Waiting(BaseModel):
    """Why a job waits and when it may start."""

    code: str
    sentence: str
    numbers: dict[str, Any]
    position: int | None = None
    expected_start_at: str | None = None
    expected_start_basis: str


class Column(BaseModel):
    name: str
    type: str


class Result(BaseModel):
    """What a job produced."""

    model_config = ConfigDict(extra="allow")
    source: str | None = Field(None, description="The source it is registered as.")
    path: str | None = None
    row_count: int | None = None
    column_count: int | None = None
    columns: list[Column] | None = None
    size_bytes: int | None = None


class Job(BaseModel):
    """A job as it is now."""

    model_config = ConfigDict(extra="allow")
    job_id: str
    kind: str
    name: str
    owner: str
    queue: str
    priority: Literal["low", "normal", "high"]
    job_status: JobStatusText
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    cancel_requested_at: str | None = None
    timeout_s: float
    max_attempts: int
    tasks: dict[TaskStateText, int] = Field(description="How many tasks are in each state.")
    progress: float | None = Field(None, ge=0, le=1)
    request: Request
    usage: Usage
    exit: Exit | None = None
    waiting: Waiting | None = None
    result: Result | None = None
    links: JobLinks


class CancelAnswer(BaseModel):
    """What a cancel did. `job_status` is the status from now on; attempts that run end within 2 s."""

    job_id: str
    job_status: JobStatusText
    ended_tasks: int
    stopping_attempts: list[str]
    links: JobLinks


class Attempt(BaseModel):
    attempt_id: str
    number: int
    state: Literal["starting", "running", "succeeded", "failed", "lost"]
    worker: str
    started_at: str
    ended_at: str | None = None
    exit: Exit | None = None
    usage: Usage


class Task(BaseModel):
    """A task with its attempts."""

    task_id: str
    job_id: str
    name: str
    state: TaskStateText
    not_before: str | None = None
    attempts: list[Attempt]
    exit: Exit | None = None
    result: dict[str, Any] | None = None
    links: dict[str, str]


class Event(BaseModel):
    """Something that happened to a job. Events of type `progress` have the id 0: they come live and are not kept."""

    id: int
    job_id: str
    task_id: str | None = None
    at: str
    type: str
    message: str
    data: dict[str, Any]


class ResultAnswer(Result):
    """A finished job's result; `rows` only when `limit` was given."""

    job_id: str
    job_status: JobStatusText
    rows: list[list[JsonValue]] | None = None
    links: dict[str, str]


class SourceRequest(Shape):
    """A file, glob or folder on the server to register."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "trips", "path": "files/trips-*.parquet"}}
    )
    name: str = Field(min_length=1, max_length=63, description="Letters, digits and underscores.")
    path: str = Field(min_length=1, max_length=4096, description="Absolute, or below the data directory.")
    format: str | None = Field(
        None, max_length=20, description="`csv`, `parquet` or `json`; default: by the name."
    )
    options: dict[str, JsonValue] | None = Field(
        None, description="Reader options that shall not be guessed, such as `delim`; docs/sql.md lists them."
    )


class Source(BaseModel):
    """A named data set."""

    name: str
    format: str
    path: str
    owner: str
    created_at: str
    columns: list[Column]
    column_count: int
    row_count: int | None = Field(None, description="Null when nobody has counted yet.")
    size_bytes: int | None = None
    file_count: int
    managed: bool = Field(description="Whether the file is deleted with the source.")
    job_id: str | None = Field(None, description="The job that made it.")
    lineage: list[str] = Field(description="The sources it was made from.")
    sql: str | None = None
    options: dict[str, Any]
    links: dict[str, str]


class Limits(BaseModel):
    """The limits that an interactive answer was made under."""

    rows: int
    time_s: float
    bytes: int


class Rows(BaseModel):
    """An interactive answer. Values are as docs/sql.md says: dates as ISO 8601, large numbers and decimals as text."""

    columns: list[Column]
    rows: list[list[JsonValue]]
    row_count: int
    truncated: bool
    reached: Literal["rows", "bytes"] | None = Field(None, description="The limit that cut the rows off.")
    limits: Limits
    elapsed_ms: float
    job_id: str


class QueryRequest(Shape):
    """A small query that is answered in the request itself."""

    model_config = ConfigDict(json_schema_extra={"example": {"sql": "select 42 as answer", "limit": 100}})
    sql: str = Field(min_length=1, max_length=1024 * 1024)
    limit: int | None = Field(None, ge=1, description="Most rows; default and upper limit: `query_max_rows`.")
    timeout_s: float | None = Field(
        None, gt=0, description="Longest time; default and upper limit: `query_timeout_s`."
    )
    memory: int | str | None = Field(None, description="Bytes, or text such as `512MiB`.")


class UploadAnswer(BaseModel):
    """A file that is now on the server's disk, whole and written through."""

    name: str
    path: str
    size_bytes: int
    sha256: str
    source: Source | None = None


class QueueChange(Shape):
    """New settings of a queue; what is left out stays. `max_concurrent` null takes the cap away."""

    model_config = ConfigDict(json_schema_extra={"example": {"max_concurrent": 2, "weight": 3}})
    max_concurrent: int | None = Field(None, ge=1, le=100_000)
    weight: int | None = Field(None, ge=1, le=1000)
    paused: bool | None = None


class Queue(BaseModel):
    name: str
    weight: int
    max_concurrent: int | None = None
    paused: bool
    waiting: int
    running: int
    links: dict[str, str]


class Health(BaseModel):
    """Alive. Says nothing about load or work."""

    model_config = ConfigDict(json_schema_extra={"example": {"status": "healthy"}})
    status: Literal["healthy"]


class Ready(BaseModel):
    """Every check with null, or what is wrong."""

    status: Literal["ready", "not_ready"]
    checks: dict[str, str | None]


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None
