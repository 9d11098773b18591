"""Kinds of jobs: how a submission is judged and how a task is run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from tidegate.core.job import AttemptKey, TaskOrder
from tidegate.core.names import DEFAULT_QUEUE
from tidegate.core.resources import Resources
from tidegate.core.source import Source


@dataclass(frozen=True, slots=True)
class WorkOrder:
    """What a workload makes of a submission: its tasks, what it asks by default, what it will read.

    `request` and `timeout_s` are defaults that the submitter's own figures override.
    """

    name: str
    spec: Mapping[str, Any]
    request: Resources
    timeout_s: float
    tasks: tuple[TaskOrder, ...] = ()
    result_name: str | None = None
    """A source name for the result; the empty string stands for the default name `async_result_{job_id}`."""
    queue: str = DEFAULT_QUEUE
    max_attempts: int = 1
    last: TaskOrder | None = None
    """See `NewJob.last`."""
    batch: int = 1
    """How many of its tasks may run one after another in one process. Only for kinds that run no code of users, and whose
    runner leaves nothing in the process that changes what the next task does. A task that shares a process answers with facts
    alone: no files, no new tasks. A kind whose first task adds the others does so in a task of another request."""
    memory_named: bool = False
    """Whether whoever wrote the work has named its memory: like a submitter's own figure it is then a limit to keep."""


@dataclass(frozen=True, slots=True)
class FunctionDefaults:
    """What a registered function asks for when its submitter does not say; None where it does not say either."""

    cpu_milli: int | None = None
    memory_bytes: int | None = None
    disk_bytes: int | None = None
    timeout_s: float | None = None
    max_attempts: int | None = None


@dataclass(frozen=True, slots=True)
class KindRules:
    """What the settings allow of commands and functions. By default nothing."""

    commands: bool = False
    readable_roots: tuple[str, ...] = ()
    """Real paths of folders below which a command may be given files to read and run."""
    writable_roots: tuple[str, ...] = ()
    """Likewise to write; these may be read as well."""
    function_modules: tuple[str, ...] = ()
    functions: Mapping[str, FunctionDefaults] = field(default_factory=dict)
    """The registered functions by `module:name`, of those modules that could be looked at here."""
    unseen_modules: frozenset[str] = frozenset()
    """Allowed modules that could not be: whether they have a function is found out when it is called."""
    targets: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Databases that ingest may load into: the URLs, with their secrets, by name."""
    target_urls: bool = False
    """Whether submissions may name URLs themselves."""
    keeps_results: bool = True
    """Whether results are kept to be those of later tasks, see `TaskOrder.digest`."""
    target_roots: tuple[str, ...] = ()
    """Real paths of folders below which such a URL may name SQLite files."""


@dataclass(frozen=True, slots=True)
class IntakeContext:
    """What a workload may look at while it judges a submission."""

    owner: str
    data_dir: str
    sources_named: Callable[[Iterable[str]], list[Source]]
    largest: Resources
    """The allocatable amounts of the largest worker, so that a default request never asks for more."""
    source_roots: tuple[str, ...] = ()
    """Folders besides the data directory whose files may be registered as sources."""
    before_look: Callable[[], None] = lambda: None
    """To be called before each look at the file system, also between two entries of a long list: it ends the judging where
    no such look may be made, or not any longer. What it raises must not be caught."""
    kinds: KindRules = KindRules()
    memory_bytes: int | None = None
    """What the submitter asks for; None: what the kind asks by default."""
    own_folder: str = ""
    """The only folder of the data directory from which this owner may register files; empty: any."""


KEEP = "keep"
"""In a result: true when it depends on nothing but what the task's digest names, see `TaskOrder.digest`. It is not stored."""


class Workload(Protocol):
    """The code of one kind of job, found by the entry point group `tidegate.workloads`.

    The instance lives in the server and must be light: what is heavy stands in the module that `runner` names
    (`package.module:function`), which only the sandbox imports. A kind whose specs have `connect_ports` says so by an
    attribute `connects = True`.

    With an attribute `expands = True` its runners may add tasks to their job, see `TaskContext.add_task`. With `preload =
    "on_demand"` its runner is loaded with the first attempt that needs it, not when the worker starts. A submission without
    `kind` is of the kind that has one of its fields in `implied_by`.
    """

    kind: str
    fields: frozenset[str]
    """Names of the submission's fields that belong to this kind; any other unknown field is refused."""
    runner: str

    def order(self, fields: Mapping[str, Any], context: IntakeContext) -> WorkOrder:
        """Judge a submission's own fields. Raises InvalidInput with what is wrong."""
        ...


def _adds_no_tasks(task: TaskOrder) -> None:
    raise RuntimeError(
        f"Task {task.name!r:.80} cannot be added: this kind of job does not say that it adds tasks."
    )


@dataclass(frozen=True, slots=True)
class TaskContext:
    """What a runner gets inside the sandbox. It may write only below `staging`, and report by the two callables."""

    key: AttemptKey
    spec: Mapping[str, Any]
    resources: Resources
    timeout_s: float
    staging: str
    progress: Callable[[float], None]
    """Share done, 0 to 1; cheap to call often."""
    log: Callable[[str], None]
    add_task: Callable[[TaskOrder], None] = _adds_no_tasks
    """Add a task to this job. All that were added are queued by the commit that records the attempt's success, and none
    otherwise: an attempt that fails or is lost adds nothing, however often it is tried.

    For workloads with `expands = True`; for others it raises. A task's name has at most 1000 characters, all of it as JSON
    at most 64 KiB, all tasks together 64 MiB, and a job `MOST_TASKS`. Its spec may not hold `readable_paths`,
    `runnable_paths`, `writable_paths` or `connect_ports`: it has those of the job. When the attempt leaves a folder
    (`"folder"` in the result), the tasks that it added may read that as `input_folder`."""
    input_folder: str | None = None
    """The folder that the task which added this one has left behind; None when it left none."""


class Runner(Protocol):
    """The function that `Workload.runner` names. Returns small JSON facts about the result.

    Before it touches anything that a user wrote, it must have locked itself down; the sandbox has already confined the
    process to what the staging folder and these of the spec allow: `readable_paths`, `runnable_paths` (to read and to
    run), `writable_paths`; of TCP only to connect to its `connect_ports`. Raises `TaskError` (workloads.errors) with a code
    and message for what the user can mend; anything else is an `error` with its type and text.
    """

    def __call__(self, context: TaskContext) -> Mapping[str, Any]: ...
