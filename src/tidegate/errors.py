"""Every error Tidegate raises on purpose.

    TidegateError
    ├── InvalidInput        what was sent cannot be understood or is not allowed
    │   ├── SettingError    a setting has a value it must not have
    │   └── NotPicklable    what is to go to another process, or to come back, cannot
    ├── NotFound            no such job, task, source or queue
    ├── Conflict            it clashes with what is there already
    ├── NeverFits           it asks for more than any worker could ever give
    ├── AccessDenied        nobody knows who asks, or who asks may not
    ├── Busy                the line is full; come back after `retry_after_s`
    ├── Unavailable         the service cannot work at the moment
    │   ├── InSafeMode      the service is in safe mode and takes no jobs
    │   └── NotLeader       another server schedules; what this one decided is not stored
    ├── JobFailed           a job that was waited for did not succeed
    ├── ServerUnreachable   no Tidegate server answers at the address
    ├── ExecutorError       a call of an ExecutorManager ended without an answer of its function
    │   ├── ExecutorMemoryLimit   it needed more memory than it was given
    │   ├── ExecutorTimeLimit     it ran longer than it was given
    │   ├── ExecutorDied          its process crashed, left, or was ended from outside
    │   └── ExecutorStopped       the executors were closed first
    └── BrokenInvariant     a bug in Tidegate: state that must not exist
        ├── IllegalTransition
        └── LedgerError

A message says what failed, asked against limit, and what to do. `code` is stable and meant for programs,
`numbers` holds the figures of the message under names that carry their unit.
"""

from __future__ import annotations

from collections.abc import Mapping


class TidegateError(Exception):
    """Base of all errors raised on purpose. `code` is stable, `numbers` are the figures in the message."""

    code = "error"

    def __init__(
        self, message: str, *, code: str | None = None, numbers: Mapping[str, float | int | str] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).code
        self.numbers: dict[str, float | int | str] = dict(numbers or {})
        self.problem: dict[str, object] | None = None
        """The server's problem document, when the error came over HTTP."""


class InvalidInput(TidegateError):
    """What was sent cannot be understood, or asks for something that is not allowed."""

    code = "invalid_input"


class SettingError(InvalidInput):
    """A setting has a value it must not have; the message names the allowed range."""

    code = "invalid_setting"


class NotPicklable(InvalidInput):
    """A function, an argument or a result cannot be pickled, so it cannot go from one process to another."""

    code = "not_picklable"


class NotFound(TidegateError):
    """There is no such job, task, source or queue."""

    code = "not_found"


class Conflict(TidegateError):
    """The request clashes with what is there already: a taken name, a key used for another request."""

    code = "conflict"


class NeverFits(TidegateError):
    """The request is larger than the largest worker could ever give; waiting would not help."""

    code = "never_fits"


class AccessDenied(TidegateError):
    """No valid API key (`unauthenticated`), a role that is not enough (`forbidden`), or too many wrong keys."""

    code = "forbidden"


class Busy(TidegateError):
    """The line is full. `retry_after_s` is when room is expected."""

    code = "busy"

    def __init__(
        self, message: str, *, retry_after_s: float, numbers: Mapping[str, float | int | str] | None = None
    ) -> None:
        super().__init__(message, numbers={**(numbers or {}), "retry_after_s": retry_after_s})
        self.retry_after_s = retry_after_s


class TooMuchPressure(Busy):
    """Work of this criticality is not taken at the present level of pressure."""

    code = "pressure"


class Unavailable(TidegateError):
    """The service cannot work at the moment: it is starting, stopping, or something it needs is away."""

    code = "unavailable"


class InSafeMode(Unavailable):
    """The service is in safe mode: it reads, cancels and drains, and takes no jobs. `retry_after_s` if that ends by itself."""

    code = "safe_mode"


class NotLeader(Unavailable):
    """Another server leads by now: what this one decided for all was not stored, and shall not be tried again."""

    code = "not_leader"


class JobFailed(TidegateError):
    """A job that was waited for ended without success. `exit` holds its reason and numbers, `status` its end state."""

    code = "job_failed"

    def __init__(
        self, message: str, *, job_id: str, status: str, exit: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.job_id = job_id
        self.status = status
        self.exit = dict(exit or {})


class ServerUnreachable(TidegateError):
    """No Tidegate server answers at the address."""

    code = "server_unreachable"


class ExecutorError(TidegateError):
    """A call of an `ExecutorManager` ended without an answer of its function. `numbers` says asked against limit."""

    code = "executor_error"


class ExecutorMemoryLimit(ExecutorError):
    """The call needed more memory than it was given: `limit_bytes`, and `observed_bytes` where that is known."""

    code = "memory_limit"


class ExecutorTimeLimit(ExecutorError):
    """The call ran longer than `limit_s`; its processes are ended."""

    code = "time_limit"


class ExecutorDied(ExecutorError):
    """The call's process crashed, left by itself, or was ended from outside. Whether the call has had effects is not known."""

    code = "died"


class ExecutorStopped(ExecutorError):
    """The executors were closed before the call was done. With code `not_started` nothing of it has run."""

    code = "stopped"


class BrokenInvariant(TidegateError):
    """State that must not exist. This is a bug in Tidegate: please report it with the message."""

    code = "internal"


class IllegalTransition(BrokenInvariant):
    """A state change that the transition table does not have."""


class LedgerError(BrokenInvariant):
    """The ledger does not add up: allocated more than allocatable, or sums that differ from their parts."""
