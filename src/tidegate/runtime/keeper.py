"""One slot of the sandbox: a process that runs one attempt at a time, from the order to the report.

The keeper is forked from the zygote and lives on between attempts. It is not in the attempt's control group, so the
attempt's limits cannot touch it, and it is a subreaper, so nothing of an attempt's tree can leave it. When its server goes
away it ends the tree it has and leaves.
"""

from __future__ import annotations

import os
import select
import sys
from collections import deque
from typing import Any, NoReturn

from tidegate.runtime.account import Meter
from tidegate.runtime.attempt import GONE_WITHIN_S, Attempt, refused
from tidegate.runtime.fork import Fork
from tidegate.runtime.limits.group import Group, GroupLimits, Rung
from tidegate.runtime.limits.ladder import remove_within
from tidegate.runtime.order import Order, World
from tidegate.runtime.processes import PR_SET_CHILD_SUBREAPER, prctl, set_name
from tidegate.runtime.protocol import Channel


class Groups:
    """The control groups of a slot, one at a time. One that is as good as new serves the next attempt with the same limits."""

    def __init__(self, rung: Rung, prefix: str) -> None:
        self._rung = rung
        self._prefix = prefix
        self._count = 0
        self._group: Group | None = None
        self.limits: GroupLimits | None = None
        """Of the group that there is."""

    def take(self, limits: GroupLimits) -> Group:
        """Raises OSError: there is never a group without its limits."""
        if self._group is not None and limits == self.limits:
            return self._group
        self.drop()
        self._count += 1
        self._group = self._rung.create(f"{self._prefix}{self._count}", limits)
        self.limits = limits
        return self._group

    def give_back(self, *, clean: bool) -> None:
        """After the report, since nobody waits for it. `clean`: the attempt ended by itself, and is proven gone."""
        if not clean or self._group is None or not self._group.renew():
            self.drop()

    def drop(self) -> None:
        """A group that stays is found by the zygote or the next sweep."""
        if self._group is not None:
            remove_within(self._group, GONE_WITHIN_S)
        self._group = self.limits = None


class Keeper:
    """Orders in, reports out."""

    def __init__(self, world: World, channel: Channel, number: int) -> None:
        self._world = world
        self._channel = channel
        self._inbox: deque[dict[str, Any]] = deque()
        self._groups = Groups(world.rung, f"{world.generation}-{number}-")
        self._last: tuple[str, GroupLimits] | None = None
        """Of the last order, its runner's module and its limits."""
        self._ahead: Fork | None = None
        """Waits for an order with the limits of the last one."""
        self._meter = Meter()

    def serve(self) -> None:
        """Until the server is gone."""
        poll = select.poll()
        poll.register(self._channel.fileno(), select.POLLIN)
        while not self._channel.closed:
            poll.modify(self._channel.fileno(), select.POLLIN | select.POLLOUT * self._channel.wants_write)
            if not poll.poll(None if self._ahead is None else self._world.ahead_s * 1000):
                self._dismiss()
            self._channel.flush()
            self._inbox.extend(self._channel.receive())
            while self._inbox:
                message = self._inbox.popleft()
                if message["do"] == "run":  # else a cancel that crossed the report of its attempt
                    self._run(Order(message))
        self._dismiss()
        self._groups.drop()

    def _run(self, order: Order) -> None:
        limits = order.limits()
        again = self._last == (order.module, limits)
        self._last = (order.module, limits)
        try:
            order.make_folders()
            fork = self._fork(limits)
        except OSError as error:
            message = f"The sandbox could not be set up: {error}"
            self._channel.send(refused(self._world, order, message))
            return
        attempt = Attempt(self._world, self._channel, self._inbox, order, fork)
        attempt.run()
        self._channel.send(attempt.account(self._meter))
        if not attempt.tree_gone:
            self._finish_off(attempt)
        self._groups.give_back(clean=attempt.clean)
        if again and self._world.ahead_s:
            self._fork_ahead(order.module, limits)

    def _fork(self, limits: GroupLimits) -> Fork:
        """The one that waits, if it is for these limits. Raises OSError."""
        fork = self._ahead
        if fork is not None and limits == self._groups.limits and fork.is_alive():
            self._ahead = None
            return fork
        self._dismiss()
        return Fork(self._world, self._groups.take(limits))

    def _fork_ahead(self, module: str, limits: GroupLimits) -> None:
        """After the report, for the next order: what has come twice most often comes again."""
        try:
            pages = self._world.usual_pages.get(module, ())
            self._ahead = Fork(self._world, self._groups.take(limits), pages)
        except OSError:  # told when an order comes and it does not work then
            return

    def _dismiss(self) -> None:
        """Nobody is charged for it."""
        if self._ahead is not None:
            self._ahead.dismiss()
            self._ahead = None
            self._meter.take()

    def _finish_off(self, attempt: Attempt) -> None:
        """What could not be ended in time is reported so, and ended when it can be. Nobody is charged for it."""
        while not attempt.tree_gone:
            attempt.end_tree()
        self._channel.send({"is": "gone", "key": attempt.key})
        self._meter.take()


def keep(world: World, channel: Channel, number: int) -> NoReturn:
    """The keeper's main."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    set_name("tidegate-keeper")
    status = 1
    try:
        Keeper(world, channel, number).serve()
        status = 0
    except BaseException as error:  # noqa: BLE001  the zygote sweeps after a keeper that failed
        sys.stderr.write(f"tidegate: keeper {number} failed: {type(error).__name__}: {error}\n")
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(status)
