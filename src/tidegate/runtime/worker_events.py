"""What can happen to a worker, and what it can be told to do: the language of `worker_state`."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tidegate.core.attempt import Assignment, AttemptEnd
from tidegate.core.job import AttemptKey
from tidegate.core.plan import Start
from tidegate.core.states import ExitReason
from tidegate.ports import BeatAnswer
from tidegate.runtime.evictor import Eviction

# Events


@dataclass(frozen=True, slots=True)
class Launched:
    """Starts were handed over, claimed or not."""

    starts: Sequence[Start]


@dataclass(frozen=True, slots=True)
class CancelAsked:
    keys: Sequence[AttemptKey]


@dataclass(frozen=True, slots=True)
class EvictAsked:
    """End this attempt for the machine's sake."""

    eviction: Eviction


@dataclass(frozen=True, slots=True)
class StopAsked:
    grace_s: float


@dataclass(frozen=True, slots=True)
class HurryAsked:
    """End the grace of a stop that is under way."""


@dataclass(frozen=True, slots=True)
class BeatAsked:
    """Beat now instead of when it is due."""


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt has ended, or was never begun; this is to be reported."""

    end: AttemptEnd


@dataclass(frozen=True, slots=True)
class Gone:
    """The last process went of an attempt whose end was reported before: its allocation is to be released."""

    key: AttemptKey


@dataclass(frozen=True, slots=True)
class Registered:
    generation: int
    asked_s: float


@dataclass(frozen=True, slots=True)
class RegisterFailed:
    pass


@dataclass(frozen=True, slots=True)
class Beaten:
    """The answer to a beat that was sent at `asked_s`; `jitter` from -1 to 1 spreads the next one."""

    answer: BeatAnswer | None
    asked_s: float
    jitter: float = 0.0


@dataclass(frozen=True, slots=True)
class BeatFailed:
    pass


@dataclass(frozen=True, slots=True)
class ClaimAnswered:
    starts: Sequence[Start]
    claimed: Sequence[Assignment]
    asked_s: float


@dataclass(frozen=True, slots=True)
class ClaimFailed:
    pass


@dataclass(frozen=True, slots=True)
class Reported:
    """Of these attempts no more needs to be reported, nor released of those in `gone`."""

    done: Collection[AttemptKey] = ()
    gone: Collection[AttemptKey] = ()


@dataclass(frozen=True, slots=True)
class ReportFailed:
    pass


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time has passed."""


Event = (
    Launched | CancelAsked | EvictAsked | StopAsked | HurryAsked | BeatAsked | Ended | Gone | Registered | RegisterFailed
    | Beaten | BeatFailed | ClaimAnswered | ClaimFailed | Reported | ReportFailed | Ticked
)  # fmt: skip


# Instructions


@dataclass(frozen=True, slots=True)
class Register:
    """Answered by Registered or RegisterFailed."""


@dataclass(frozen=True, slots=True)
class Beat:
    """Answered by Beaten or BeatFailed."""

    generation: int
    running: Collection[AttemptKey]


@dataclass(frozen=True, slots=True)
class Claim:
    """Answered by ClaimAnswered or ClaimFailed."""

    generation: int
    starts: Sequence[Start]


@dataclass(frozen=True, slots=True)
class Begin:
    """Start the sandbox with one attempt, or with a batch; Ended follows for each, at once when it cannot be started."""

    batch: Sequence[Assignment]


@dataclass(frozen=True, slots=True)
class Kill:
    """Ask a sandbox to end, named by its first attempt; Ended follows for all that have not ended in it."""

    sandbox: AttemptKey
    reason: ExitReason = ExitReason.CANCELLED
    message: str | None = None
    limit: int | None = None
    observed: int | None = None


@dataclass(frozen=True, slots=True)
class DropCancelled:
    """Ended follows: it was cancelled before it was begun."""

    assignment: Assignment


@dataclass(frozen=True, slots=True)
class DropUnbegun:
    """Ended follows: it was not begun, and runs again. `put_back` by a stop; otherwise it counts as a loss."""

    key: AttemptKey
    put_back: bool


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell who waits that these do not run here."""

    keys: Sequence[AttemptKey]


@dataclass(frozen=True, slots=True)
class Report:
    """Answered by Reported or ReportFailed."""

    ends: Sequence[AttemptEnd]
    gone: Collection[AttemptKey]


Instruction = (
    Register | Beat | Claim | Begin | Kill | DropCancelled | DropUnbegun | Refuse | Report
)  # fmt: skip
