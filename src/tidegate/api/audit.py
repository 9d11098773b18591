"""The trail of who did what."""

from __future__ import annotations

import json
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import Response

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.csv_lines import MEDIA_TYPE, Format, ListFormat, csv_page
from tidegate.api.dependencies import ServiceGiven
from tidegate.api.openapi import content, problems
from tidegate.api.pages import Cursor, Limit, decode_number, encode_cursor, most_now, page
from tidegate.api.times import From, To, time_of
from tidegate.api.views import instant
from tidegate.core.identity import Action, AuditEntry
from tidegate.ports import AuditFilter

router = guarded_router(prefix="/api/v1", tags=["identity"])

COLUMNS = (
    "id",
    "at",
    "actor",
    "role",
    "key_id",
    "action",
    "object",
    "outcome",
    "request_id",
    "address",
    "detail",
)


@router.get(
    "/audit",
    summary="Who did what",
    response_model=schemas.Page[schemas.AuditRow],
    responses={
        **problems("bad_cursor"),
        200: content(MEDIA_TYPE, description="With `format=csv` the items alone."),
    },
)
async def list_audit(
    request: Request,
    service: ServiceGiven,
    limit: Limit = 50,
    cursor: Cursor = None,
    actor: Annotated[str | None, Query(max_length=63, description="Only what this owner did.")] = None,
    action: Annotated[Action | None, Query(description="Only such actions.")] = None,
    object: Annotated[
        str | None, Query(max_length=255, description="Only what was done to this, such as `queue etl`.")
    ] = None,
    since: From = None,
    until: To = None,
    format: Format = ListFormat.JSON,
) -> Response:
    """Newest first. A row is written together with what it tells of; `audit_retention_days` says how long it is kept."""
    limit = most_now(service, limit)
    before = decode_number("audit", cursor, 0)
    first, end = time_of(since, until)
    wanted = AuditFilter(actor, action, object, first, end, before_id=before or None, limit=limit + 1)
    found = await service.run(service.store.audit, wanted)
    if format is ListFormat.JSON:
        return page(found, limit, "audit", lambda row: row.id, audit_view)
    following = encode_cursor("audit", found[limit - 1].id) if len(found) > limit else None
    return csv_page(request, COLUMNS, map(_as_line, found[:limit]), following)


def _as_line(row: AuditEntry) -> dict[str, Any]:
    view = audit_view(row)
    return {**view, "detail": json.dumps(view["detail"], ensure_ascii=False) if view["detail"] else None}


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
