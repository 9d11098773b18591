"""What the server's answers look like to a program: small values and views over the JSON documents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeAlias

from tidegate.client.values import Reader, reader_of
from tidegate.core.resources import format_bytes
from tidegate.errors import JobFailed

Document: TypeAlias = dict[str, Any]

FINAL = frozenset({"SUCCEEDED", "FAILED", "CANCELLED"})


class Column(NamedTuple):
    """A column's name and its SQL type."""

    name: str
    type: str


class Page(NamedTuple):
    """One page of a list and where the next begins; None: it was the last."""

    items: tuple[Document, ...]
    next_cursor: str | None


class Event(NamedTuple):
    """Something that happened to a job: a number that grows, a type, when, and a sentence."""

    id: int
    type: str
    at: datetime | None
    message: str
    document: Mapping[str, Any]

    @classmethod
    def from_document(cls, document: Document, id: str = "", type: str = "") -> Event:
        """From an event's document; `id` and `type` are those of the message that carried it."""
        number = document.get("id") or document.get("event_id") or id or 0
        at = document.get("at", document.get("created_at"))
        return cls(
            int(number),
            str(document.get("type", type)),
            instant(at),
            str(document.get("message", "")),
            document,
        )


def instant(text: str | None) -> datetime | None:
    """An aware instant from ISO 8601 text; None stays None."""
    return None if text is None else datetime.fromisoformat(text)


def columns_of(document: Mapping[str, Any]) -> tuple[Column, ...]:
    """The columns of a source, a result or rows."""
    return tuple(Column(column["name"], column["type"]) for column in document.get("columns") or ())


class Rows(Sequence[tuple[Any, ...]]):
    """Rows that came whole, as tuples of Python values; `dicts()` gives them by column name.

    `truncated` says that there were more, `reached` which of `limits` cut them: `rows`, `bytes` or `time`.
    """

    def __init__(
        self, columns: tuple[Column, ...], rows: Sequence[tuple[Any, ...]], document: Mapping[str, Any]
    ) -> None:
        self.columns = columns
        self.truncated = bool(document.get("truncated", False))
        self.reached: str | None = document.get("reached")
        self.limits: Mapping[str, Any] = document.get("limits") or {}
        self.elapsed_ms: float | None = document.get("elapsed_ms")
        self._rows = rows

    @classmethod
    def from_document(cls, document: Document) -> Rows:
        """From `{"columns": [...], "rows": [[...]]}`."""
        columns = columns_of(document)
        readers = [reader_of(column.type, base64_blobs=True) for column in columns]
        return cls(columns, [_row(readers, row) for row in document.get("rows", ())], document)

    def dicts(self) -> list[dict[str, Any]]:
        """The rows by column name."""
        names = [column.name for column in self.columns]
        return [dict(zip(names, row, strict=True)) for row in self._rows]

    def __getitem__(self, index: Any) -> Any:
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self._rows)

    def __repr__(self) -> str:
        more = ", truncated" if self.truncated else ""
        return f"<Rows {len(self)} × {len(self.columns)}{more}>"


def _row(readers: Sequence[Reader], row: Sequence[Any]) -> tuple[Any, ...]:
    return tuple(
        value if reader is None or value is None else reader(value)
        for reader, value in zip(readers, row, strict=True)
    )


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a job waits, or why it ended: a stable code, one sentence, and the numbers behind it."""

    job_id: str
    status: str
    code: str | None
    text: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    position: int | None = None
    expected_start_at: datetime | None = None
    expected_start_basis: str | None = None
    """What the expected start was reckoned from."""

    def __str__(self) -> str:
        return self.text

    @classmethod
    def from_job(cls, document: Mapping[str, Any]) -> Explanation:
        """Read from a job's document: from its `waiting` while it waits, from its `exit` after it failed."""
        job_id, status = str(document["job_id"]), str(document["job_status"])
        waiting, ended = document.get("waiting"), document.get("exit")
        if waiting:
            return cls(
                job_id,
                status,
                waiting.get("code", waiting.get("reason")),
                waiting.get("sentence", ""),
                waiting.get("numbers") or {},
                waiting.get("position", document.get("position")),
                instant(waiting.get("expected_start_at")),
                waiting.get("expected_start_basis"),
            )
        if ended:
            return cls(job_id, status, ended.get("reason"), failure_sentence(document), _exit_numbers(ended))
        return cls(job_id, status, None, _state_sentence(document))


def _exit_numbers(ended: Mapping[str, Any]) -> dict[str, Any]:
    return {name: ended[name] for name in ("limit", "observed") if ended.get(name) is not None}


_STATE_WORDS = {
    "ACCEPTED": "is accepted and will be looked at in a moment",
    "QUEUED": "waits for its turn",
    "RUNNING": "is running",
    "SUCCEEDED": "succeeded",
    "FAILED": "failed",
    "CANCELLED": "was cancelled",
}


def _state_sentence(document: Mapping[str, Any]) -> str:
    status = str(document["job_status"])
    return f"Job {document['job_id']} {_STATE_WORDS.get(status, 'is ' + status)}."


def failure_sentence(document: Mapping[str, Any]) -> str:
    """One sentence (or two) with numbers on why a job did not succeed."""
    ended = document.get("exit") or {}
    message = str(ended.get("message") or "").strip()
    head = _state_sentence(document)[:-1]
    if ended.get("reason") == "cancelled":
        return f"{head}."
    cause = ended.get("code") or ended.get("reason")
    reason = f" ({cause})" if cause else ""
    return f"{head}{reason}{': ' + message if message else '.'}{_numbers_note(ended, message)}"


def _numbers_note(ended: Mapping[str, Any], message: str) -> str:
    """Limit and observed amount, unless the message has said them already."""
    if ended.get("limit") is None or any(digit.isdigit() for digit in message):
        return ""
    show = (
        format_bytes
        if ended.get("reason") in ("memory_limit", "disk_limit")
        else lambda amount: f"{amount:g} s"
    )
    observed = f", observed {show(ended['observed'])}" if ended.get("observed") is not None else ""
    held = f", held by {ended['enforced_by']}" if ended.get("enforced_by") else ""
    return f" (limit {show(ended['limit'])}{observed}{held})"


def job_failed(document: Mapping[str, Any]) -> JobFailed:
    """The error for a job that was waited for and did not succeed."""
    return JobFailed(
        failure_sentence(document),
        job_id=str(document["job_id"]),
        status=str(document["job_status"]),
        exit=document.get("exit"),
    )
