"""What routes ask for: the service, whose request it is, and ids that can exist."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tidegate.core.job import TaskKey, parse_job_id
from tidegate.errors import NotFound
from tidegate.server.service import Service

_LARGEST_NUMBER = 10**9


async def current_service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def current_owner(request: Request) -> str:
    """Whose request it is. The one place that API keys come to; until then everybody on the machine is `local`."""
    return "local"


async def job_number(job_id: str) -> int:
    return parse_job_id(job_id)


async def task_key(task_id: str) -> TaskKey:
    key = TaskKey.parse(task_id)
    if key.job_id >= 10**18 or key.number > _LARGEST_NUMBER:
        raise NotFound(f"There is no task {task_id!r:.80}.")
    return key


ServiceGiven = Annotated[Service, Depends(current_service)]
Owner = Annotated[str, Depends(current_owner)]
JobNumber = Annotated[int, Depends(job_number)]
TaskNamed = Annotated[TaskKey, Depends(task_key)]
