"""What routes ask for: the service, whose request it is, and ids that can exist."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from tidegate.api.access import caller_of
from tidegate.core.identity import Caller
from tidegate.core.job import TaskKey, parse_job_id
from tidegate.errors import NotFound
from tidegate.server.service import Service

_LARGEST_NUMBER = 10**9


async def current_service(request: Request) -> Service:
    service = request.app.state.service
    assert isinstance(service, Service)
    return service


async def current_caller(request: Request) -> Caller:
    """Whose request it is."""
    return caller_of(request)


async def job_number(request: Request, job_id: str) -> int:
    """The number of a job that exists for the caller, as far as it is the caller's rights that decide. Raises NotFound."""
    number = parse_job_id(job_id)
    await (await current_service(request)).check_owner(caller_of(request), number)
    return number


async def task_key(request: Request, task_id: str) -> TaskKey:
    """The same for a task."""
    key = TaskKey.parse(task_id)
    if key.job_id >= 10**18 or key.number > _LARGEST_NUMBER:
        raise NotFound(f"There is no task {task_id!r:.80}.")
    await (await current_service(request)).check_owner(caller_of(request), key.job_id)
    return key


ServiceGiven = Annotated[Service, Depends(current_service)]
CallerGiven = Annotated[Caller, Depends(current_caller)]
JobNumber = Annotated[int, Depends(job_number)]
TaskNamed = Annotated[TaskKey, Depends(task_key)]
