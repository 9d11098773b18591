"""What the server and its keepers say to each other about attempts: the records, and how they travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tidegate.core.attempt import Exit, Usage
from tidegate.core.job import AttemptKey
from tidegate.core.resources import Resources
from tidegate.core.states import KEEPER_DIED, ExitReason
from tidegate.runtime.limits.group import Finding


class Turn(NamedTuple):
    """An attempt that runs in another one's sandbox, after those before it."""

    key: AttemptKey
    spec: Mapping[str, Any]
    timeout_s: float
    log_path: str


@dataclass(frozen=True, slots=True)
class SandboxOrder:
    """One attempt to run, and those that run after it in its sandbox. `folder` is its own, made if need be; the runner writes
    to `staging` in it.

    What it prints goes into the file `log_path`, made with the first byte; by default `log` in the folder. What it has made
    is copied to `hand_over` at the end, when that is given: a folder that is there, and that it alone may write to.
    """

    key: AttemptKey
    runner: str
    spec: Mapping[str, Any]
    resources: Resources
    timeout_s: float
    folder: str
    interactive: bool = False
    expands: bool = False
    """Whether the runner may add tasks to its job."""
    log_path: str | None = None
    hand_over: str | None = None
    others: Sequence[Turn] = ()
    """The rest of its batch, in order."""

    @property
    def turns(self) -> list[tuple[AttemptKey, float]]:
        """All that are to run, with their time limits."""
        return [(self.key, self.timeout_s), *((turn.key, turn.timeout_s) for turn in self.others)]


@dataclass(frozen=True, slots=True)
class SandboxStarted:
    """The attempt's process exists."""

    key: AttemptKey
    pid: int


@dataclass(frozen=True, slots=True)
class SandboxProgress:
    """How far an attempt is (0 to 1, None when it does not say) and its highest memory so far."""

    key: AttemptKey
    progress: float | None
    peak_memory_bytes: int


@dataclass(frozen=True, slots=True)
class SandboxEnd:
    """The end of an attempt. With `tree_gone` false some process could not be ended yet: SandboxGone follows when it is.

    Of a batch each attempt has its end; while the next one runs the sandbox is not `over`. When it is, `unbegun` are those
    whose turn did not come.
    """

    key: AttemptKey
    succeeded: bool
    exit: Exit | None
    usage: Usage
    result: Mapping[str, Any] | None
    tree_gone: bool
    enforced_by: str
    log_bytes: int
    over: bool = True
    unbegun: Sequence[AttemptKey] = ()


@dataclass(frozen=True, slots=True)
class SandboxGone:
    """Of a sandbox whose end was reported with `tree_gone` false: now nothing of it is left. `key` names its first attempt."""

    key: AttemptKey


SandboxEvent = SandboxStarted | SandboxProgress | SandboxEnd | SandboxGone


@dataclass(frozen=True, slots=True)
class Rungs:
    """What holds the sandboxes: the rung in use, what was found about each, and how files are confined."""

    in_use: str
    findings: tuple[Finding, ...]
    landlock: str


def order_message(order: SandboxOrder) -> dict[str, Any]:
    """As it travels to the keeper."""
    resources = order.resources
    return {
        "do": "run",
        "key": order.key,
        "runner": order.runner,
        "spec": order.spec,
        "resources": (resources.cpu_milli, resources.memory_bytes, resources.disk_bytes),
        "timeout_s": order.timeout_s,
        "folder": order.folder,
        "interactive": order.interactive,
        "expands": order.expands,
        "log": order.log_path,
        "hand_over": order.hand_over,
        "others": [turn._asdict() for turn in order.others],
    }


def event_of(message: Mapping[str, Any]) -> SandboxEvent:
    """What a keeper has told."""
    key = AttemptKey(*message["key"])
    match message["is"]:
        case "started":
            return SandboxStarted(key, message["pid"])
        case "progress":
            return SandboxProgress(key, message["progress"], message["peak_memory_bytes"])
        case "end":
            return _end_of(key, message)
        case _:
            return SandboxGone(key)


def rungs_of(message: Mapping[str, Any]) -> Rungs:
    """What a zygote has found."""
    return Rungs(message["rung"], tuple(Finding(*one) for one in message["findings"]), message["landlock"])


def _end_of(key: AttemptKey, message: Mapping[str, Any]) -> SandboxEnd:
    exit_ = message["exit"]
    return SandboxEnd(
        key=key,
        succeeded=message["succeeded"],
        exit=None if exit_ is None else Exit(**{**exit_, "reason": ExitReason(exit_["reason"])}),
        usage=Usage(**message["usage"]),
        result=message["result"],
        tree_gone=message["tree_gone"],
        enforced_by=message["enforced_by"],
        log_bytes=message["log_bytes"],
        over=message["over"],
        unbegun=[AttemptKey(*one) for one in message["unbegun"]],
    )


def lost_keeper(
    keys: Sequence[AttemptKey], cancelled: tuple[ExitReason, str | None] | None, clean: bool, rung: str
) -> SandboxEnd:
    """The end of the attempt that ran, the first of `keys`, whose keeper died. A cancel that was on the way has then been
    carried out.
    """
    if cancelled is not None:
        exit_ = Exit(cancelled[0], cancelled[1] or "The job was cancelled.", code=cancelled[0].value)
    else:
        message = (
            "The process that watched over the job died, and the job was ended with it. It can be run again."
        )
        exit_ = Exit(ExitReason.SIGNAL, message, code=KEEPER_DIED)
    return SandboxEnd(keys[0], False, exit_, Usage(), None, clean, rung, 0, unbegun=keys[1:])
