"""Celery as it comes, for comparison: one task that does nothing. The broker's URL is in BARE_BROKER_URL."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bare", broker=os.environ.get("BARE_BROKER_URL", "redis://127.0.0.1:1/0"))
app.conf.update(task_ignore_result=True, worker_hijack_root_logger=False)


@app.task(name="bare.nothing")
def nothing() -> None:
    """Does nothing."""
