"""One attempt in its keeper's hands, from the fork to the end of its process tree."""

from __future__ import annotations

import select
import signal
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tidegate.core.job import AttemptKey
from tidegate.core.states import ExitReason
from tidegate.runtime.account import Ended, Meter, Spent, end_message, peak_memory
from tidegate.runtime.fork import Fork
from tidegate.runtime.limits.group import GroupUsage
from tidegate.runtime.order import Order, World
from tidegate.runtime.pipes import Passed
from tidegate.runtime.processes import end_descendants, reap, send_signal
from tidegate.runtime.protocol import Channel
from tidegate.runtime.turns import Turns
from tidegate.runtime.verdict import Ending, Facts
from tidegate.runtime.watch import Watch

GRACE_S = 0.5
"""How long an attempt that is asked to stop may take before it is killed."""
GONE_WITHIN_S = 1.2
_HEARTBEAT_S = 1.0


class Attempt:
    """Forks the attempt, relays what it tells, and ends it when it must end. Of a batch all that run in the one process, each
    with its own report."""

    def __init__(
        self, world: World, channel: Channel, inbox: deque[dict[str, Any]], order: Order, fork: Fork
    ) -> None:
        """`fork` waits in a group that has the limits of the order."""
        self._world = world
        self._channel = channel
        self._inbox = inbox
        self._order = order
        self.key = order.key
        self._turns = Turns(order.turns)
        self._fork = fork
        self._report = fork.report
        self._log = fork.log
        self._watch = Watch(
            fork.group,
            order.bounds,
            order.writable,
            kernel_holds_memory=world.rung.kernel_holds_memory,
        )
        self._ending: Ending | None = None
        self._kill_at: float | None = None
        self._told_started = False
        self._told_memory = 0
        self._tell_at = self._turns.began_at + _HEARTBEAT_S
        self._wait_status: int | None = None
        self.tree_gone = False

    @property
    def clean(self) -> bool:
        """Whether it ended by itself and nothing of it is left."""
        return self.tree_gone and self._ending is None and self._kill_at is None

    def run(self) -> None:
        """From the order to the end of the tree."""
        self._fork.give(self._order)
        self._follow(self._watch)
        self.end_tree()

    def _follow(self, watch: Watch) -> None:
        """Until the first process has ended, or has to be killed."""
        poll = select.poll()
        for fd in (self._fork.pidfd, self._report.reader, self._log.reader, self._channel.fileno()):
            poll.register(fd, select.POLLIN)
        self._obey()  # a cancel may have come together with the order
        while not self._channel.closed:
            if self._channel.wants_write:
                poll.modify(self._channel.fileno(), select.POLLIN | select.POLLOUT)
            ready = [fd for fd, _ in poll.poll(self._patience_s(watch) * 1000)]
            if self._channel.fileno() in ready:
                self._on_message()
                poll.modify(self._channel.fileno(), select.POLLIN)
            self._on_output(poll, ready)
            if self._fork.pidfd in ready or self._timers(watch, time.monotonic()):
                return

    def _on_output(self, poll: select.poll, ready: list[int]) -> None:
        """Once there is a result, the end is all that is waited for; what is still in the pipes is read then."""
        if self._log.reader in ready and not self._log.read():
            poll.unregister(self._log.reader)
        if self._report.reader not in ready:
            return
        going_on = self._report.read()
        self._take_passed()
        if self._report.progress_changed():
            self._tell_progress()
        if self._report.finished or not going_on:
            poll.unregister(self._report.reader)

    def _patience_s(self, watch: Watch) -> float:
        until = self._kill_at if self._kill_at is not None else self._turns.due_at
        return max(min(until, watch.next_at()) - time.monotonic(), 0.0)

    def _timers(self, watch: Watch, now: float) -> bool:
        """Do what is due; whether the tree has to be killed now."""
        if self._kill_at is None and now >= self._turns.due_at:
            self._ask_to_stop(Ending(ExitReason.TIME_LIMIT, observed=round(now - self._turns.began_at, 3)))
        if now >= watch.next_at():
            seen = watch.look(now)
            if seen.kill and self._ending is None:
                self._ending = seen.ending
                self._kill_at = now
            self._tell_of_life(watch, now)
        return self._kill_at is not None and now >= self._kill_at

    def _on_message(self) -> None:
        self._channel.flush()
        self._inbox.extend(self._channel.receive())
        self._obey()

    def _obey(self) -> None:
        while self._inbox:
            message = self._inbox.popleft()
            if message["do"] == "cancel" and AttemptKey(*message["key"]) == self.key:
                self._ask_to_stop(
                    Ending(
                        ExitReason(message["reason"]),
                        message.get("message"),
                        message.get("limit"),
                        message.get("observed"),
                    )
                )

    def _ask_to_stop(self, ending: Ending) -> None:
        """The first reason counts. What has already reported its result may finish."""
        if self._ending is None and not self._report.finished:
            self._ending = ending
            self._kill_at = time.monotonic() + GRACE_S
            send_signal([self._fork.pid], signal.SIGTERM)

    def _tell_of_life(self, watch: Watch, now: float) -> None:
        """That it has started, of what is not over in a moment; and its memory, when that has changed."""
        if not self._told_started:
            self._told_started = True
            self._channel.send({"is": "started", "key": self._turns.current.key, "pid": self._fork.pid})
        if watch.peak_memory_bytes != self._told_memory and now >= self._tell_at:
            self._tell_progress()

    def _tell_progress(self) -> None:
        self._told_memory = self._watch.peak_memory_bytes
        self._tell_at = time.monotonic() + _HEARTBEAT_S
        self._channel.send(
            {
                "is": "progress",
                "key": self._turns.current.key,
                "progress": self._report.progress,
                "peak_memory_bytes": self._told_memory,
            }
        )

    def _take_passed(self) -> None:
        """Report on those of the batch after which the next one runs already."""
        while self._report.passed:
            passed = self._report.passed.popleft()
            if not self._turns.unbegun:  # there is nobody to go on with
                self._report.result, self._report.error = passed.result, passed.error
            elif self._ending is None or self._ending.reason is not ExitReason.TIME_LIMIT:
                self._pass_on(passed)

    def _pass_on(self, passed: Passed) -> None:
        """What the kernel counts of the whole process comes with the last report."""
        turn, taken_s = self._turns.current, self._turns.taken_s
        facts = self._facts(passed.peak_memory_bytes, None, passed.result, passed.error)
        self._turns.pass_on(passed.cpu_s)
        log_bytes = self._log.ended()
        spent = Spent(passed.cpu_s, 0, 0)
        ended = Ended(turn.key, facts, None, spent, taken_s, True, passed.result, log_bytes, over=False)
        self._channel.send(end_message(ended))

    def end_tree(self) -> None:
        """Nothing may outlive the first process. Proof: a subreaper without children has no descendants.

        Tries for a while; call it again when the tree is not gone then.
        """
        round_ = reap()
        self._wait_status = round_.ended.get(self._fork.pid, self._wait_status)
        if not round_.none_left:
            round_ = end_descendants(
                self._fork.group.kill, self._fork.group.hurry, time.monotonic() + GONE_WITHIN_S
            )
            self._wait_status = round_.ended.get(self._fork.pid, self._wait_status)
        self.tree_gone = round_.none_left

    def account(self, meter: Meter) -> dict[str, Any]:
        """The report."""
        self._report.drain()
        self._take_passed()
        self._log.drain()
        self._fork.close()
        usage, turns = self._final_usage(), self._turns
        return end_message(
            Ended(
                turns.current.key,
                self._final_facts(usage),
                usage,
                meter.take(),
                turns.taken_s,
                self.tree_gone,
                self._report.result,
                self._log.written_bytes,
                unbegun=turns.unbegun,
                told_cpu_s=turns.told_cpu_s,
            )
        )

    def _final_usage(self) -> GroupUsage | None:
        try:
            return self._fork.group.final_usage()
        except OSError:  # the group is gone: somebody outside removed it
            return None

    def _final_facts(self, usage: GroupUsage | None) -> Facts:
        report, watch = self._report, self._watch
        killed = self._wait_status is not None and self._wait_status & 0x7F == signal.SIGKILL
        return replace(
            self._facts(report.peak_memory_bytes, usage, report.result, report.error),
            wait_status=self._wait_status,
            ending=self._ending,
            oom_kills=usage.oom_kills if usage else 0,
            memory_limit_hit=usage.limit_hit if usage else False,
            host_oom_kills=watch.host_kills() if killed else 0,
        )

    def _facts(
        self,
        own_peak_bytes: int,
        usage: GroupUsage | None,
        result: Mapping[str, Any] | None,
        error: Mapping[str, Any] | None,
    ) -> Facts:
        """Of the attempt whose turn it is, as long as nothing happens to its process."""
        bounds, watch = self._order.bounds, self._watch
        peak = peak_memory(bounds.memory_bytes, watch.peak_memory_bytes, own_peak_bytes, usage)
        return Facts(
            enforced_by=self._world.rung.name,
            memory_limit_bytes=bounds.memory_bytes,
            disk_limit_bytes=bounds.disk_bytes,
            timeout_s=self._turns.current.timeout_s,
            wait_status=0,
            peak_memory_bytes=peak,
            result=result,
            error=error,
        )


def refused(world: World, order: Order, message: str) -> dict[str, Any]:
    """The report on one that cannot be started: an attempt without its folders or limits never is."""
    facts = Facts(
        enforced_by=world.rung.name,
        memory_limit_bytes=order.bounds.memory_bytes,
        disk_limit_bytes=order.bounds.disk_bytes,
        timeout_s=order.turns[0].timeout_s,
        wait_status=None,
        ending=Ending(ExitReason.ERROR, message, code="sandbox"),
    )
    unbegun = [turn.key for turn in order.turns[1:]]
    return end_message(Ended(order.key, facts, None, Spent(0.0, 0, 0), 0.0, True, None, 0, unbegun=unbegun))
