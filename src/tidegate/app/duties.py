"""What a server keeps in order beside serving, as its settings want it."""

from __future__ import annotations

from datetime import timedelta

from tidegate.api.files import INCOMING
from tidegate.core.resources import parse_bytes
from tidegate.ports import Bell, Clock, Store
from tidegate.runtime.publish import DataFolders
from tidegate.server.leader import Leader
from tidegate.server.services.janitor import Janitor
from tidegate.server.services.rescue import Rescue
from tidegate.settings import Settings


def make_rescue(settings: Settings, store: Store, bell: Bell, clock: Clock, leader: Leader) -> Rescue:
    """Takes back the attempts of workers that are gone."""
    return Rescue(
        store,
        bell,
        clock,
        leader,
        interval_s=min(settings.lease_s / 4, 5.0),
        max_losses=settings.losses,
        lease_s=settings.lease_s,
    )


def make_janitor(settings: Settings, store: Store, folders: DataFolders) -> Janitor:
    """Forgets what is old. What jobs are counted in and kept for outlives the jobs themselves."""
    retention = settings.retention_days
    return Janitor(
        store,
        results=folders.results,
        attempts=folders.attempts,
        logs=folders.logs,
        incoming=folders.files / INCOMING,
        retention=timedelta(days=retention),
        audit_retention=timedelta(days=settings.audit_retention_days),
        archive=timedelta(days=max(settings.archive_days, retention)),
        readings=timedelta(days=settings.readings_retention_days),
        kept_bytes=parse_bytes(settings.result_cache),
        alert_retention=timedelta(days=settings.alert_retention_days),
        usage_retention=timedelta(days=max(settings.usage_retention_days, retention)),
    )
