"""The trail of who did what."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Query
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.openapi import problems
from tidegate.api.pages import Cursor, Limit, decode_number, most_now, page
from tidegate.api.views import instant
from tidegate.core.identity import Action, AuditEntry
from tidegate.ports import AuditFilter

router = guarded_router(prefix="/api/v1", tags=["identity"])


@router.get(
    "/audit",
    summary="Who did what",
    response_model=schemas.Page[schemas.AuditRow],
    responses=problems("bad_cursor"),
)
async def list_audit(
    service: ServiceGiven,
    limit: Limit = 50,
    cursor: Cursor = None,
    actor: Annotated[str | None, Query(max_length=63, description="Only what this owner did.")] = None,
    action: Annotated[Action | None, Query(description="Only such actions.")] = None,
    object: Annotated[
        str | None, Query(max_length=255, description="Only what was done to this, such as `queue etl`.")
    ] = None,
) -> JSONResponse:
    """Newest first. A row is written together with what it tells of; `audit_retention_days` says how long it is kept."""
    limit = most_now(service, limit)
    before = decode_number("audit", cursor, 0)
    wanted = AuditFilter(actor, action, object, before_id=before or None, limit=limit + 1)
    found = await service.run(service.store.audit, wanted)
    return page(found, limit, "audit", lambda row: row.id, audit_view)


def audit_view(row: AuditEntry) -> dict[str, Any]:
    """What is shown of a row."""
    return {
        "id": row.id,
        "at": instant(row.at),
        "actor": row.actor,
        "role": row.role.value,
        "key_id": row.key_id,
        "action": row.action.value,
        "object": row.object,
        "outcome": row.outcome,
        "request_id": row.request_id,
        "address": row.address,
        "detail": dict(row.detail),
    }
