"""Whether a server leads, as its database and its settings have it."""

from __future__ import annotations

import logging
import os
import secrets
import socket

from tidegate.app.folders import database_of
from tidegate.core.recovery import Cause
from tidegate.errors import Unavailable
from tidegate.ports import Bell, Clock, LeaderStore
from tidegate.server.leader import Leader
from tidegate.server.supervisor import Supervisor
from tidegate.settings import Settings

log = logging.getLogger("tidegate.app")

_LEASES_WAITED = 2.0
"""A lease, until it has run out, and the time between two looks at it."""


def make_leader(
    settings: Settings,
    store: LeaderStore,
    bell: Bell,
    clock: Clock,
    supervisor: Supervisor,
    *,
    clustered: bool,
) -> Leader:
    """One that is to be started. Where the database lies in the data directory, the lock of that proves that no other server
    lives. A server on the tables of a newer version stands by: what that keeps, and where it says so, this one cannot know."""
    return Leader(
        store,
        bell,
        clock,
        f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}",
        lease_s=settings.leader_lease_s,
        sole=not clustered and database_of(settings).startswith("sqlite"),
        may_lead=supervisor.state.cause is not Cause.MIGRATION,
        supervisor=supervisor,
    )


def wait_to_lead(leader: Leader, lease_s: float) -> None:
    """For a server that is no cluster's: the lease of one that was killed runs out by itself. Raises Unavailable when it does
    not, since then another one lives."""
    if leader.leads or not leader.may_lead:
        return
    log.info("Another server has led on this database; waiting until its lease of %g s has run out.", lease_s)
    if not leader.wait(_LEASES_WAITED * lease_s):
        raise Unavailable(
            "Another server works on this database. A server that is no cluster's wants one of its own: name another by "
            "`database_url`, or make both servers of one cluster by `broker_url`."
        )
