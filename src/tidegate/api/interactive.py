"""The service's own small jobs that requests wait for: queries, previews, exports.

They are jobs like all others, in the queue `interactive`, so that nothing escapes the ledger.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.responses import Response

from tidegate.api.problems import Refusal, exit_numbers
from tidegate.core.identity import Caller
from tidegate.core.resources import MIB
from tidegate.core.states import ExitReason, JobStatus
from tidegate.errors import Busy, Unavailable
from tidegate.ports import JobRecord
from tidegate.server.service import Service

MOST_ANSWER_BYTES = 8 * MIB
_FOR_ENDING_S = 3.0
"""Beyond its own time limit: for a fork before, and for the end to be recorded after."""
_THE_QUERYS_OWN = frozenset(
    {
        ExitReason.ERROR,
        ExitReason.MEMORY_LIMIT,
        ExitReason.TIME_LIMIT,
        ExitReason.DISK_LIMIT,
        ExitReason.SIGNAL,
    }
)


@dataclass(frozen=True)
class Limits:
    """What an interactive answer may take."""

    rows: int
    time_s: float
    bytes: int = MOST_ANSWER_BYTES


@dataclass(frozen=True)
class Answer:
    """Rows as the sandbox wrote them: `rows` is a JSON list of lists, not parsed again."""

    job_id: int
    columns: list[dict[str, str]]
    rows: bytes
    row_count: int
    truncated: bool
    limits: Limits
    elapsed_ms: float

    @property
    def reached(self) -> str | None:
        if not self.truncated:
            return None
        return "rows" if self.row_count >= self.limits.rows else "bytes"


def quoted(name: str) -> str:
    """A source's name as SQL."""
    return '"' + name.replace('"', '""') + '"'


async def rows_of(
    service: Service,
    caller: Caller,
    sql: str,
    limits: Limits,
    *,
    memory: int | str | None = None,
    reads_as: str | None = None,
) -> Answer:
    """The first rows of a query; `reads_as` is the owner whose sources its names mean, by default the caller.

    Raises the problem that its end stands for.
    """
    fields: dict[str, Any] = {
        "kind": "sql",
        "sql": sql,
        "output": {"kind": "inline", "max_rows": limits.rows, "max_bytes": limits.bytes},
    }
    if memory is not None:
        fields["memory"] = memory
    began = service.clock.monotonic()
    job, result = await finished(service, caller, fields, limits.time_s, reads_as)
    rows = await service.run(_taken, Path(service.sources.managed_path(result["path"])))
    return Answer(
        job_id=job.id,
        columns=list(result["columns"]),
        rows=rows,
        row_count=int(result["row_count"]),
        truncated=bool(result.get("truncated")),
        limits=limits,
        elapsed_ms=round((service.clock.monotonic() - began) * 1000, 1),
    )


async def finished(
    service: Service,
    caller: Caller,
    fields: Mapping[str, Any],
    timeout_s: float,
    reads_as: str | None = None,
) -> tuple[JobRecord, Mapping[str, Any]]:
    """Run one and give its result. Raises the problem that its end stands for."""
    job = await service.interactive(
        caller, {**fields, "timeout_s": timeout_s}, timeout_s=timeout_s + _FOR_ENDING_S, reads_as=reads_as
    )
    if job.status is not JobStatus.SUCCEEDED or job.result is None:
        raise problem_of_end(job, timeout_s)
    return job, job.result


def problem_of_end(job: JobRecord, timeout_s: float) -> Exception:
    """Why an interactive job gave no answer: the query's own fault, or the machine's."""
    if job.started_at is None:
        return Busy(
            f"There was no room for this within {timeout_s:g} s. Try again, or submit it as a job.",
            retry_after_s=1.0,
            numbers={"limit": timeout_s},
        )
    if job.exit is None or job.exit.reason not in _THE_QUERYS_OWN:
        message = job.exit.message if job.exit is not None else f"It was stopped after {timeout_s:g} s."
        return Unavailable(message, numbers=exit_numbers(job.exit))
    code = job.exit.code if job.exit.reason is ExitReason.ERROR else job.exit.reason.value
    hint = (
        " Submit it as a job with a larger `timeout_s`." if job.exit.reason is ExitReason.TIME_LIMIT else ""
    )
    return Refusal(
        code or "query_failed", job.exit.message + hint, status=422, numbers=exit_numbers(job.exit)
    )


def rows_response(answer: Answer, **more: object) -> Response:
    """The answer with its rows put in as they are."""
    head = {
        "columns": answer.columns,
        "row_count": answer.row_count,
        "truncated": answer.truncated,
        "reached": answer.reached,
        "limits": {"rows": answer.limits.rows, "time_s": answer.limits.time_s, "bytes": answer.limits.bytes},
        "elapsed_ms": answer.elapsed_ms,
        "job_id": str(answer.job_id),
        **more,
    }
    return Response(with_rows(head, answer.rows), media_type="application/json")


def with_rows(head: Mapping[str, object], rows: bytes) -> bytes:
    """A JSON object with `rows`, already JSON, as its last field."""
    return json.dumps(head, ensure_ascii=False).encode()[:-1] + b', "rows": ' + rows + b"}"


def _taken(path: Path) -> bytes:
    """The file's content; the file is only for this request."""
    content = path.read_bytes()
    path.unlink(missing_ok=True)
    return content
