"""Routes of API keys."""

from __future__ import annotations

from fastapi import Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, most_now, page
from tidegate.core.identity import KeyRecord, key_view, parse_role
from tidegate.server.doorkeeper import new_key

router = guarded_router(prefix="/api/v1", tags=["identity"])


@router.get("/whoami", summary="Who am I?", response_model=schemas.Whoami, responses=problems())
async def whoami(caller: CallerGiven) -> JSONResponse:
    """The owner and role of the key that was sent."""
    return JSONResponse({"owner": caller.owner, "role": caller.role.value, "key_id": caller.key_id})


@router.get(
    "/keys", summary="List keys", response_model=schemas.Page[schemas.Key], responses=problems("bad_cursor")
)
async def list_keys(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """In the order in which they were made, also those that open nothing any more. None shows the key itself."""
    limit = most_now(service, limit)
    after = decode_cursor("keys", cursor) if cursor is not None else ""
    found = sorted(await service.run(service.store.all_keys), key=_place)
    following = [key for key in found if _place(key) > after]
    return page(following[: limit + 1], limit, "keys", _place, lambda key: key_view(key, service.clock.now()))


@router.post(
    "/keys",
    status_code=201,
    summary="Make a key",
    response_model=schemas.NewKey,
    responses=problems("malformed", "too_large", "unsupported_media_type"),
    openapi_extra=json_body(schemas.KeyRequest),
)
async def create_key(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """The answer shows the key, this once. From the first key on, nobody works without one."""
    asked = await json_model(request, schemas.KeyRequest)
    key, record = new_key(
        asked.owner,
        parse_role(asked.role),
        name=asked.name,
        life_days=asked.expires_in_days,
        by=caller.owner,
        now=service.clock.now(),
    )
    await service.run(service.store.add_key, record, caller)
    await service.doorkeeper.changed()
    return JSONResponse({"key": key, **key_view(record, service.clock.now())}, 201)


@router.delete(
    "/keys/{key_id}", summary="Revoke a key", response_model=schemas.Key, responses=problems("not_found")
)
async def revoke_key(service: ServiceGiven, caller: CallerGiven, key_id: str) -> JSONResponse:
    """It opens nothing from now on, on other servers within seconds. Its row stays. Idempotent."""
    record = await service.run(service.store.revoke_key, key_id, service.clock.now(), caller)
    await service.doorkeeper.changed()
    return JSONResponse(key_view(record, service.clock.now()))


def _place(key: KeyRecord) -> str:
    """Grows in the order of making."""
    return f"{key.created_at.isoformat(timespec='microseconds')} {key.id}"
