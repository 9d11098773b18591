"""The keeper's side of a process that it forks: with an order at hand, or ahead of one."""

from __future__ import annotations

import contextlib
import os
import select
import signal
from collections.abc import Sequence

from tidegate.runtime.child import run_child
from tidegate.runtime.limits.group import Group
from tidegate.runtime.order import Order, World
from tidegate.runtime.pipes import LogPipe, ReportPipe
from tidegate.runtime.processes import send_signal
from tidegate.runtime.protocol import encode
from tidegate.runtime.rehearsal import Stretch


class Fork:
    """A process that waits for its one order, which it will run in this group."""

    def __init__(self, world: World, group: Group, pages: Sequence[Stretch] = ()) -> None:
        """It copies `pages` before it waits. Raises OSError where there can be no more processes or descriptors."""
        self.group = group
        keeper_pid = os.getpid()
        with contextlib.ExitStack() as undo:
            self.report, self.log = ReportPipe(), LogPipe()
            undo.callback(self.log.close)
            undo.callback(self.report.close)
            reader, self._order_fd = os.pipe()
            undo.callback(os.close, self._order_fd)
            undo.callback(os.close, reader)
            self.pid = os.fork()
            if self.pid == 0:
                os.close(self._order_fd)
                run_child(world, group, keeper_pid, pages, reader, self.report.writer, self.log.writer)
            undo.pop_all()
        os.close(reader)
        self.report.close_writer()
        self.log.close_writer()
        self.pidfd = os.pidfd_open(self.pid)

    def is_alive(self) -> bool:
        """The host's memory killer, or somebody, may have ended it while it waited."""
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def give(self, order: Order) -> None:
        """Let it run this. One that is dead by now takes no order, and its end is seen like that of any other."""
        self.log.write_to(*(turn.log_path for turn in order.turns))
        line = memoryview(encode(order.message))
        try:
            while line:
                line = line[os.write(self._order_fd, line) :]
        except BrokenPipeError:
            pass
        os.close(self._order_fd)

    def dismiss(self) -> None:
        """There is no order for it."""
        send_signal([self.pid], signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._order_fd)
        self.close()

    def close(self) -> None:
        """Once it has ended."""
        self.report.close()
        self.log.close()
        os.close(self.pidfd)
