"""Runners that the zygote loads with the first attempt that needs them, so that a server that has no use for one does not pay.

Loading adds to the zygote, and to what it forks from then on: keepers that were there before do not have it. Nothing can be
unloaded, so a zygote that has been asked for nothing of this kind for long is replaced while nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterable

from tidegate.runtime.zygote_process import ZygoteProcess

FORGOTTEN_AFTER_S = 600.0


class OnDemand:
    """What one zygote after the other has loaded beside what it began with."""

    def __init__(self, modules: Iterable[str], forgotten_after_s: float = FORGOTTEN_AFTER_S) -> None:
        self._modules = frozenset(modules)
        self._forgotten_after_s = forgotten_after_s
        self._used_at = 0.0
        self.loaded: frozenset[str] = frozenset()

    def needed_by(self, runner: str, now: float) -> frozenset[str]:
        """What a keeper must have been forked with to run this now."""
        modules = self._modules & {runner.partition(":")[0]}
        if modules:
            self._used_at = now
        return modules

    def load(self, modules: frozenset[str], zygote: ZygoteProcess) -> None:
        """Have it loaded by what is forked from now on. It need not be waited for: the zygote does one thing after another."""
        for name in sorted(modules - self.loaded):
            zygote.channel.send({"do": "load", "name": name})
        self.loaded |= modules

    def is_forgotten(self, now: float) -> bool:
        """Whether something is loaded that nobody has needed for long."""
        return bool(self.loaded) and now - self._used_at >= self._forgotten_after_s

    def begin_anew(self) -> None:
        """The zygote is another one."""
        self.loaded = frozenset()
