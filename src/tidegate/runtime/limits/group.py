"""What every rung of the ladder offers: a group that holds one attempt's process tree to its limits."""

from __future__ import annotations

from typing import NamedTuple, Protocol


class GroupLimits(NamedTuple):
    """What one attempt may use. `cpu_milli` is a weight against other attempts, not a cap."""

    memory_bytes: int
    cpu_milli: int
    processes: int = 512
    interactive: bool = False


class GroupUsage(NamedTuple):
    """What a group uses. None where the rung cannot tell."""

    memory_bytes: int
    """Anonymous plus shared memory now."""
    peak_with_cache_bytes: int | None = None
    """Highest charge so far with page cache and kernel memory: nothing the group used can have been above it."""
    cpu_seconds: float | None = None
    oom_kills: int = 0
    """Processes of the group that the kernel's out-of-memory killer ended."""
    limit_hit: bool = False
    """Whether the group ever reached its own memory limit, so that a kill was due to that and not to the host."""
    processes: int | None = None


class Finding(NamedTuple):
    """Whether a rung works here, found by trying it, and why not."""

    rung: str
    works: bool
    reason: str


class Group(Protocol):
    """One attempt's group. Made before its first process, removed after its last."""

    @property
    def name(self) -> str: ...

    def join(self) -> None:
        """Move the calling process in, which should have one thread and nothing allocated yet. Raises OSError."""
        ...

    def stat_fd(self) -> int | None:
        """Of the file that tells the group's memory, for a last look from inside; None where there is no such file."""
        ...

    def usage(self) -> GroupUsage: ...

    def final_usage(self) -> GroupUsage:
        """The same when all its processes are gone, for less: the memory that is used now is not looked at."""
        ...

    def renew(self) -> bool:
        """Begin to count anew when all processes are gone, for another attempt with the same limits.

        False where something of the last one would stay, in its counts or as memory. Then the group has to be removed.
        """
        ...

    def kill(self) -> None:
        """End what is in the group now, in a way that a fork cannot outrun. May have to be called again."""
        ...

    def hurry(self, on: bool) -> None:
        """Let what was killed and has not ended yet run at normal weight: also dying takes CPU, and work that yields gets
        none while others take all. All attempts of the kind are lifted; call again with false afterwards.
        """
        ...

    def empty(self) -> bool: ...

    def remove(self) -> bool:
        """Whether it is gone now; false while processes are in it or still being torn down."""
        ...


class Rung(Protocol):
    """One way to enforce limits."""

    @property
    def name(self) -> str: ...

    @property
    def yields_cpu(self) -> bool:
        """Whether groups give way to the service by themselves, so that processes need no policy of their own."""
        ...

    @property
    def kernel_holds_memory(self) -> bool:
        """Whether the kernel enforces the memory limit; if not, the keeper does, by sampling."""
        ...

    def create(self, name: str, limits: GroupLimits) -> Group:
        """Raises OSError, FileExistsError for a name in use: never a group without limits."""
        ...

    def leftovers(self) -> list[Group]:
        """All groups of this instance that exist, of whatever server."""
        ...

    def close(self) -> None:
        """Remove the instance's containers if nothing is in them."""
        ...
