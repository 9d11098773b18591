"""From the fields of a submission to a job: every rule a submission must pass, in the order a user meets them."""

from __future__ import annotations

import difflib
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tidegate.core.identity import Caller
from tidegate.core.job import NO_CEILING_BYTES, ORIGIN, NewJob, Priority, Shape, TaskOrder
from tidegate.core.names import INTERACTIVE_QUEUE, check_labels
from tidegate.core.plan import WorkerView
from tidegate.core.resources import MIB, Resources, format_bytes, format_cpus, parse_bytes, parse_cpus
from tidegate.core.source import Source
from tidegate.errors import BrokenInvariant, InvalidInput, NeverFits
from tidegate.ports import IntakeContext, KindRules, Workload, WorkOrder
from tidegate.telemetry.tracing import with_traceparent

COMMON_FIELDS = frozenset(
    [
        "kind",
        "name",
        "queue",
        "priority",
        "cpus",
        "memory",
        "max_memory",
        "disk",
        "timeout_s",
        "max_attempts",
        "labels",
        "not_before",
    ]
)
SMALLEST_MEMORY_BYTES = 64 * MIB
SMALLEST_CPU_MILLI = 10
LONGEST_TIMEOUT_S = 30 * 86400.0
MOST_ATTEMPTS = 100
_QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True, slots=True)
class Submission:
    """What arrived: whose it is, its fields as JSON values, and the idempotency key of its header.

    `internal` marks work that the service itself submits (previews, inspections, downloads): it goes to the queue
    `interactive` with high priority, takes no CPU from the ledger, and may use kinds and fields that users may not.
    """

    owner: str
    fields: Mapping[str, Any]
    idempotency_key: str | None = None
    internal: bool = False
    by: Caller | None = None
    """Who asked, for the audit trail; None for the service's own work."""
    reads_as: str | None = None
    """Whose sources its names mean; default: the owner's."""
    own_folder: str = ""
    """See `IntakeContext`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What submissions are judged by."""

    workloads: Mapping[str, Workload]
    data_dir: str
    source_roots: tuple[str, ...]
    default_timeout_s: float
    sources_named: Callable[[Iterable[str], str], list[Source]]
    kinds: KindRules = KindRules()


def judge(
    submission: Submission,
    rules: Rules,
    workers: Iterable[WorkerView],
    now: datetime,
    before_look: Callable[[], None] = lambda: None,
) -> NewJob:
    """The job a submission asks for. Raises InvalidInput or NeverFits with what is wrong and what to do.

    `before_look` is called before each look at the file system.
    """
    fields = submission.fields
    workload = _workload(fields, rules, internal=submission.internal)
    _refuse_unknown(fields, workload, internal=submission.internal)
    workers = tuple(workers)
    context = IntakeContext(
        owner=submission.owner,
        data_dir=rules.data_dir,
        source_roots=rules.source_roots,
        own_folder=submission.own_folder,
        memory_bytes=parse_bytes(fields["memory"]) if fields.get("memory") is not None else None,
        sources_named=lambda names: rules.sources_named(names, submission.reads_as or submission.owner),
        largest=_largest(workers),
        before_look=before_look,
        kinds=rules.kinds,
    )
    order = workload.order({name: fields[name] for name in workload.fields if name in fields}, context)
    _refuse_connections(order, workload)
    shape = Shape(_resources(fields, order, internal=submission.internal), _labels(fields))
    tasks = order.tasks or (TaskOrder(name=order.name),)
    for each in _shapes(shape, (*tasks, order.last)):
        refuse_what_never_fits(each, workers)
    return NewJob(
        kind=workload.kind,
        name=_text(fields, "name", order.name, longest=200),
        owner=submission.owner,
        queue=INTERACTIVE_QUEUE if submission.internal else _queue(fields, order.queue),
        priority=Priority.HIGH if submission.internal else Priority.parse(fields.get("priority", "normal")),
        shape=shape,
        timeout_s=_number(fields, "timeout_s", order.timeout_s or rules.default_timeout_s, LONGEST_TIMEOUT_S),
        max_attempts=_attempts(fields, order.max_attempts),
        spec=_with_origin(order.spec, submission),
        tasks=tasks,
        created_at=now,
        not_before=_not_before(fields, now),
        result_name=order.result_name,
        result_named_by_user=bool(order.result_name),
        idempotency_key=_idempotency_key(submission.idempotency_key),
        request_digest=_digest(fields) if submission.idempotency_key is not None else None,
        by=submission.by,
        max_memory_bytes=_most_memory(fields, order, shape.resources, internal=submission.internal),
        last=order.last,
        batch=order.batch,
    )


def _with_origin(spec: Mapping[str, Any], submission: Submission) -> Mapping[str, Any]:
    """The spec, and where it came from, if that is known."""
    if submission.by is None or submission.by.request_id is None:
        return spec
    origin = {"user_id": submission.owner, "request_id": submission.by.request_id}
    return with_traceparent({**spec, ORIGIN: origin}, submission.by.traceparent)


def _shapes(shape: Shape, tasks: Iterable[TaskOrder | None]) -> Iterable[Shape]:
    """What the tasks ask for, each shape once."""
    asked = {shape.resources if task is None else task.resources or shape.resources for task in tasks}
    return [Shape(resources, shape.labels) for resources in asked]


def refuse_what_never_fits(shape: Shape, workers: tuple[WorkerView, ...]) -> None:
    """Raise NeverFits if no worker could hold the request even when empty. Without any worker it may wait."""
    if not workers or any(
        shape.labels <= worker.labels and shape.resources.fits_in(worker.allocatable) for worker in workers
    ):
        return
    fitting = [worker for worker in workers if shape.labels <= worker.labels]
    if not fitting:
        wanted = ", ".join(f"{name}={value}" for name, value in sorted(shape.labels))
        raise NeverFits(f"This job can never start: no worker has the labels {wanted}. Add such a worker.")
    nearest = min(fitting, key=lambda worker: (_excess(shape.resources, worker.allocatable), worker.id))
    lack = shape.resources.shortfalls(nearest.allocatable)[0]
    show = format_cpus if lack.resource == "cpu" else format_bytes
    noun = "CPUs" if lack.resource == "cpu" else f"of {lack.resource}"
    field = "cpus" if lack.resource == "cpu" else lack.resource
    raise NeverFits(
        f"This job can never start: it asks for {show(lack.asked)} {noun}, worker {nearest.id!r} can give at most "
        f"{show(lack.available)}. Lower `{field}` or add a worker.",
        numbers={"resource": lack.resource, "asked": lack.asked, "limit": lack.available},
    )


def _excess(asked: Resources, allocatable: Resources) -> float:
    """How many times too large the request is in its worst resource."""
    return max(lack.asked / max(lack.available, 1) for lack in asked.shortfalls(allocatable))


def _workload(fields: Mapping[str, Any], rules: Rules, *, internal: bool) -> Workload:
    kinds = sorted(kind for kind, workload in rules.workloads.items() if internal or is_public(workload))
    kind = fields.get("kind") or _implied(fields, rules)
    if kind is None:
        raise InvalidInput(f"`kind` is missing. It must be one of: {', '.join(kinds)}.")
    if not isinstance(kind, str) or kind not in kinds:
        raise InvalidInput(f"There is no kind {kind!r}. It must be one of: {', '.join(kinds)}.")
    return rules.workloads[kind]


def _implied(fields: Mapping[str, Any], rules: Rules) -> str | None:
    """The kind that a submission without one means, by a field that only this kind takes."""
    if "kind" in fields:
        return None
    for kind, workload in rules.workloads.items():
        if not getattr(workload, "implied_by", frozenset()).isdisjoint(fields):
            return kind
    return None


def is_public(workload: Workload) -> bool:
    """Whether users may submit this kind themselves."""
    return not getattr(workload, "internal", False)


def _refuse_connections(order: WorkOrder, workload: Workload) -> None:
    """Only a kind that says that it connects may ask for the network: no other may pass on a submitter's word for it."""
    asked = any("connect_ports" in spec for spec in (order.spec, *(task.spec for task in order.tasks)))
    if asked and not getattr(workload, "connects", False):
        raise BrokenInvariant(
            f"The kind {workload.kind!r} asks for the network without saying that it connects."
        )


def _refuse_unknown(fields: Mapping[str, Any], workload: Workload, *, internal: bool) -> None:
    known = COMMON_FIELDS | workload.fields
    if not internal:
        known -= getattr(workload, "internal_fields", frozenset())
    unknown = [name for name in fields if name not in known]
    if not unknown:
        return
    near = difflib.get_close_matches(unknown[0], known, n=1)
    hint = (
        f"Did you mean `{near[0]}`?"
        if near
        else f"The fields of kind {workload.kind}: {', '.join(sorted(known))}."
    )
    raise InvalidInput(f"Unknown field `{unknown[0]}`. {hint}", numbers={"field": str(unknown[0])})


def _largest(workers: tuple[WorkerView, ...]) -> Resources:
    """The amounts of the worker with the most memory: what a default request is measured against."""
    return max((worker.allocatable for worker in workers), key=lambda r: r.memory_bytes, default=Resources())


def _resources(fields: Mapping[str, Any], order: WorkOrder, *, internal: bool) -> Resources:
    asked = Resources(
        parse_cpus(fields["cpus"]) if fields.get("cpus") is not None else order.request.cpu_milli,
        parse_bytes(fields["memory"]) if fields.get("memory") is not None else order.request.memory_bytes,
        parse_bytes(fields["disk"], name="disk")
        if fields.get("disk") is not None
        else order.request.disk_bytes,
    )
    if internal:
        return Resources(0, asked.memory_bytes, asked.disk_bytes)
    if asked.cpu_milli < SMALLEST_CPU_MILLI:
        raise InvalidInput(
            f"cpus must be at least {format_cpus(SMALLEST_CPU_MILLI)}, not {fields.get('cpus')!r}."
        )
    if asked.memory_bytes < SMALLEST_MEMORY_BYTES:
        raise InvalidInput(
            f"memory must be at least {format_bytes(SMALLEST_MEMORY_BYTES)}, not {fields.get('memory')!r}.",
            numbers={"asked": asked.memory_bytes, "limit": SMALLEST_MEMORY_BYTES},
        )
    return asked


def _most_memory(
    fields: Mapping[str, Any], order: WorkOrder, asked: Resources, *, internal: bool
) -> int | None:
    """What an attempt may ask for after one that ran out of memory.

    Who names `memory` has set a limit, which is kept unless `max_memory` allows more. The service's own work ends as it is:
    somebody waits for the answer.
    """
    if internal:
        return None
    if fields.get("max_memory") is None:
        return None if order.memory_named or fields.get("memory") is not None else NO_CEILING_BYTES
    most_bytes = parse_bytes(fields["max_memory"], name="max_memory")
    if most_bytes < asked.memory_bytes:
        raise InvalidInput(
            f"max_memory must be at least the memory that the job asks for first, {format_bytes(asked.memory_bytes)}, "
            f"not {format_bytes(most_bytes)}.",
            numbers={"field": "max_memory", "asked": most_bytes, "limit": asked.memory_bytes},
        )
    return most_bytes


def _labels(fields: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    labels = fields.get("labels")
    return frozenset() if labels is None else check_labels(labels)


def _text(fields: Mapping[str, Any], name: str, default: str, *, longest: int) -> str:
    value = fields.get(name)
    if value is None:
        return default
    if not isinstance(value, str) or not value.strip() or len(value) > longest or not value.isprintable():
        raise InvalidInput(f"{name} must be 1 to {longest} printable characters, not {value!r:.80}.")
    return value


def _queue(fields: Mapping[str, Any], default: str) -> str:
    if fields.get("queue") is None:
        return default
    queue = check_queue_name(fields["queue"])
    if queue == INTERACTIVE_QUEUE:
        raise InvalidInput(f"The queue {INTERACTIVE_QUEUE!r} is the service's own. Choose another name.")
    return queue


def check_queue_name(name: object) -> str:
    """The name, if a queue may have it. Raises InvalidInput."""
    if not isinstance(name, str) or not _QUEUE_NAME.fullmatch(name):
        raise InvalidInput(f"queue must be 1 to 63 letters, digits, or _ . -, not {name!r:.80}.")
    return name


def _number(fields: Mapping[str, Any], name: str, default: float, most: float) -> float:
    value = fields.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise InvalidInput(f"{name} must be a number of seconds, not {value!r:.80}.")
    if not 0 < value <= most:
        raise InvalidInput(
            f"{name} must be above 0 and at most {most:g} seconds, not {value!r:.80}.",
            numbers={"limit": most},
        )
    return float(value)


def _attempts(fields: Mapping[str, Any], default: int) -> int:
    value = fields.get("max_attempts")
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MOST_ATTEMPTS:
        raise InvalidInput(
            f"max_attempts must be a whole number from 1 to {MOST_ATTEMPTS}, not {value!r:.80}."
        )
    return value


def _not_before(fields: Mapping[str, Any], now: datetime) -> datetime | None:
    value = fields.get("not_before")
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        at: datetime | None = parsed.astimezone(UTC) if parsed.tzinfo else None
    except (TypeError, ValueError, OverflowError):
        at = None
    if at is None:
        raise InvalidInput(
            f"not_before must be an instant with its zone, such as '2026-01-31T08:00:00Z', not {value!r:.80}."
        )
    return at if at > now else None


def _idempotency_key(key: str | None) -> str | None:
    if key is not None and (not 1 <= len(key) <= 200 or not key.isprintable()):
        raise InvalidInput("Idempotency-Key must be 1 to 200 printable characters.")
    return key


def _digest(fields: Mapping[str, Any]) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
