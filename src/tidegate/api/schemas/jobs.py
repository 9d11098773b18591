"""Shapes of jobs, tasks, attempts and events."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tidegate.api.schemas.common import Column, Problem
from tidegate.core.lint import Verdict

JobStatusText = Literal["ACCEPTED", "QUEUED", "RUNNING", "SUCCEEDED", "FAILED", "CANCELLED"]
TaskStateText = Literal["scheduled", "queued", "running", "succeeded", "failed", "cancelled"]


class JobRequest(BaseModel):  # type: ignore[no-redef]  # pydantic's plugin gives it **kwargs beside the field
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
    kind: str | None = Field(
        None,
        description="The kind of job, such as `sql`. Left out, `sql_content` and `zip_file_path` mean `lint`.",
    )
    name: str | None = Field(None, max_length=200)
    queue: str | None = Field(None, description="Default: the kind's own queue.")
    priority: Literal["low", "normal", "high"] = "normal"
    cpus: float | str | None = Field(None, description="Number of CPUs, such as 2 or 0.5.")
    memory: int | str | None = Field(None, description="Bytes, or text such as `2GiB`.")
    max_memory: int | str | None = Field(
        None,
        description="How much an attempt may ask for after one that ran out of memory; default: `memory` if that is given, "
        "else as much as a worker can give.",
    )
    disk: int | str | None = Field(None, description="Scratch disk: bytes, or text such as `10GiB`.")
    timeout_s: float | None = Field(None, gt=0)
    max_attempts: int | None = Field(None, ge=1, le=100)
    labels: dict[str, str] | None = Field(None, description="Labels that the worker must have.")
    not_before: str | None = Field(None, description="Earliest start, ISO 8601 with zone.")
    sql: str | None = Field(None, description="Kind `sql`: one SELECT over sources by name.")
    result_name: str | None = Field(None, description="Kind `sql`: source name for the result.")
    argv: list[str] | None = Field(None, description="Kind `command`: the program and its arguments.")
    env: dict[str, str] | None = Field(None, description="Kind `command`: variables besides a clean minimum.")
    cwd: str | None = Field(None, description="Kind `command`: working folder; default: the job's own.")
    stdin: str | None = Field(None, description="Kind `command`: text to read from standard input.")
    files: dict[str, JsonValue] | list[str] | None = Field(
        None,
        description='Kind `command`: files to put into its folder: texts, or `{"base64": ...}`. Kind `ingest`: paths and '
        "globs of the files to load.",
    )
    into: str | None = Field(
        None, description="Kind `ingest`: `source`, the name of a target, or a database's URL."
    )
    table: str | None = Field(
        None, description="Kind `ingest`: the table; `{file}` and `{sheet}` may stand in it."
    )
    mode: Literal["append", "replace", "upsert"] | None = Field(None, description="Kind `ingest`.")
    keys: list[str] | None = Field(None, description="Kind `ingest`: the columns that tell rows apart.")
    sheets: str | int | list[str | int] | None = Field(
        None,
        description="Kind `ingest`: `all`, a sheet, or several; default: the first visible one with rows.",
    )
    sql_content: str | None = Field(None, description="Kind `lint`: the text of one SQL file.")
    zip_file_path: str | None = Field(
        None, description="Kind `lint`: a ZIP archive, uploaded or on the server's disk."
    )
    folder_path: str | None = Field(None, description="Kind `lint`: a folder on the server's disk.")
    dialect: str | None = Field(None, description="Kind `lint`: SQLFluff's name of the dialect.")
    rules: list[str] | str | None = Field(None, description="Kind `lint`: only these rules.")
    exclude_rules: list[str] | str | None = Field(None, description="Kind `lint`: all but these rules.")
    fix: bool | None = Field(None, description="Kind `lint`: also give the mended SQL.")
    cache: bool | None = Field(
        None, description="Kind `lint`: whether files may be answered from earlier jobs; default: true."
    )
    readable_paths: list[str] | None = Field(
        None, description="Kind `command`: what it may read and run besides the system's programs."
    )
    writable_paths: list[str] | None = Field(
        None, description="Kind `command`: where it may write besides its own folder."
    )
    function: str | None = Field(None, description="Kind `function`: `module:name` of a registered function.")
    args: list[JsonValue] | None = Field(
        None, description="Kind `function`: arguments; see docs/functions.md."
    )
    kwargs: dict[str, JsonValue] | None = Field(
        None, description="Kind `function`: arguments by their names."
    )


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


class Result(BaseModel):
    """What a job produced."""

    model_config = ConfigDict(extra="allow")
    source: str | None = Field(None, description="The source it is registered as.")
    path: str | None = None
    row_count: int | None = None
    column_count: int | None = None
    columns: list[Column] | None = None
    size_bytes: int | None = None
    exit_code: int | None = Field(None, description="Of a command.")
    value: JsonValue = Field(None, description="What a function returned, unless it is a file of the result.")
    value_file: str | None = Field(None, description="The file that holds what a function returned.")
    file_count: int | None = Field(None, description="How many files a command or function left behind.")
    files: list[dict[str, JsonValue]] | None = Field(
        None, description="The first of them: `name`, `size_bytes`."
    )
    files_truncated: bool | None = None
    skipped: list[dict[str, str]] | None = Field(None, description="What was not kept: `name`, `reason`.")


class OutputFile(BaseModel):
    """A file that a job left behind."""

    name: str = Field(description="Its path in the output folder.")
    size_bytes: int
    links: dict[str, str]


class LintSummary(BaseModel):
    """What the files of a lint job add up to."""

    files: int
    clean: bool = Field(description="Whether every file was linted by every rule, and none has an error.")
    violations: int
    warnings: int
    by_verdict: dict[str, int]
    by_rule: dict[str, int]
    cached: int = Field(description="How many files were answered from earlier jobs.")


class Violation(BaseModel):
    """A place where a rule is broken. Lines and columns count from 1; the end is 0 where nobody knows it."""

    rule: str
    name: str
    line: int
    column: int
    end_line: int
    end_column: int
    description: str
    severity: Literal["error", "warning"]
    fixable: bool


class LintFileSummary(BaseModel):
    """What was found in one file, counted."""

    clean: bool
    violations: int
    warnings: int
    fixable: int
    by_rule: dict[str, int]


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
    max_memory_bytes: int | None = Field(
        None,
        description="What an attempt may ask for after one that ran out of memory; null: as much as a worker can give.",
    )
    usage: Usage
    exit: Exit | None = None
    waiting: Waiting | None = None
    result: Result | None = None
    submission_type: Literal["SINGLE_FILE", "ZIP_ARCHIVE", "FOLDER"] | None = Field(
        None, description="Of kind `lint`."
    )
    summary: LintSummary | None = Field(
        None, description="Of kind `lint`, once it has ended and all its files are known."
    )
    links: JobLinks


class CancelAnswer(BaseModel):
    """What a cancel did. `job_status` is the status at this moment: a job whose attempts still have to stop, within 2 s, is
    RUNNING until then."""

    job_id: str
    job_status: JobStatusText
    ended_tasks: int
    stopping_attempts: list[str]
    links: JobLinks


class TaskRequest(BaseModel):
    """What a task asks for: amounts of its own, or those of its job. Of an attempt: what it was given."""

    cpus: float
    memory_bytes: int
    disk_bytes: int


class Attempt(BaseModel):
    attempt_id: str
    number: int
    state: Literal["starting", "running", "succeeded", "failed", "lost"]
    worker: str
    started_at: str
    ended_at: str | None = None
    exit: Exit | None = None
    request: TaskRequest = Field(description="What its sandbox may use, alone or with those that share it.")
    shares_with: str | None = Field(
        None,
        description="The attempt that was the first of those that ran one after another in its sandbox. Null for that "
        "one itself, and for one that had its sandbox alone.",
    )
    usage: Usage


class Task(BaseModel):
    """A task with its attempts."""

    task_id: str
    job_id: str
    name: str
    state: TaskStateText
    not_before: str | None = None
    timeout_s: float
    request: TaskRequest
    progress: float | None = Field(
        None, ge=0, le=1, description="The share done, while it runs and is known."
    )
    attempts: list[Attempt]
    exit: Exit | None = None
    result: dict[str, Any] | None = None
    file: str | None = Field(None, description="Of a lint job.")
    verdict: Verdict | None = Field(None, description="Of a lint job: how far the file got.")
    reason: str | None = Field(
        None, description="Of a lint job: why the file has not been linted by every rule."
    )
    violations: list[Violation] | None = None
    violations_cut: int | None = Field(
        None, description="How many more there are than a report has room for."
    )
    notes: list[str] | None = Field(None, description="What was left out of the file's own settings.")
    fixed: str | None = Field(None, description="The mended text, when it was asked for and differs.")
    size_bytes: int | None = None
    cached: bool | None = Field(
        None,
        description="Of a lint job: whether an earlier job has answered, for the same content and configuration.",
    )
    summary: LintFileSummary | None = None
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
