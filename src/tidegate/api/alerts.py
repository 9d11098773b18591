"""Routes of alerts, their rules, silences and channels."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import Query, Request
from starlette.responses import JSONResponse

from tidegate.api import schemas
from tidegate.api.access import guarded_router
from tidegate.api.alert_views import alert_view, channel_view, history_view, rule_view, silence_view
from tidegate.api.bodies import json_model
from tidegate.api.dependencies import CallerGiven, ServiceGiven
from tidegate.api.openapi import json_body, problems
from tidegate.api.pages import Cursor, Limit, decode_cursor, decode_number, page
from tidegate.core.alert_rules import Level
from tidegate.core.alerts import Silence
from tidegate.errors import InvalidInput, NotFound
from tidegate.ports import AlertFilter, AlertState
from tidegate.server.alerts.desk import RuleNow

router = guarded_router(prefix="/api/v1/alerts", tags=["alerts"])

TEST_S = 60.0
"""How long the answer of a test is waited for; its channel is not cut off then."""
_BODY = ("malformed", "too_large", "unsupported_media_type")


@router.get(
    "", summary="List alerts", response_model=schemas.Page[schemas.Alert], responses=problems("bad_cursor")
)
async def list_alerts(
    service: ServiceGiven,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: Annotated[
        AlertState | None, Query(description="Only such; `active` are `open` and `acknowledged` ones.")
    ] = None,
    level: Annotated[
        schemas.AlertLevel | None, Query(description="Only of this level or a higher one.")
    ] = None,
    rule: Annotated[str | None, Query(max_length=100, description="Only of this rule.")] = None,
) -> JSONResponse:
    """The newest first, also those that are over; `alert_retention_days` says how long these are kept."""
    before = decode_number("alerts", cursor, 0)
    least = Level.of(level) if level is not None else Level.INFO
    wanted = AlertFilter(state, least, rule, before_id=before or None, limit=limit + 1)
    found = await service.run(service.alerts.list, wanted)
    return page(found, limit, "alerts", lambda pair: pair[0].id, lambda pair: alert_view(*pair))


@router.get(
    "/rules",
    summary="List the rules of alerts",
    response_model=schemas.Page[schemas.AlertRule],
    responses=problems("bad_cursor"),
)
async def list_rules(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """In order of name, as they hold now."""
    after = decode_cursor("rules", cursor) if cursor is not None else ""
    rules = [one for one in await service.run(service.alerts.rules) if one.rule.name > after]
    return page(rules[: limit + 1], limit, "rules", lambda one: one.rule.name, rule_view)


@router.patch(
    "/rules/{name}",
    summary="Change a rule of alerts",
    response_model=schemas.AlertRule,
    responses=problems("not_found", *_BODY),
    openapi_extra=json_body(schemas.AlertRuleChange),
)
async def change_rule(
    request: Request, service: ServiceGiven, caller: CallerGiven, name: str
) -> JSONResponse:
    """What is named changes, the rest stays. It holds from the next look on, a few seconds later.

    A threshold of null takes the level away.
    """
    asked = await json_model(request, schemas.AlertRuleChange)
    changes: dict[str, Any] = asked.model_dump(exclude_unset=True)
    for field in ("hold_s", "clear_s", "slack", "repeat_s", "enabled"):
        if field in changes and changes[field] is None:
            raise InvalidInput(
                f"{field}: it must not be null. Leave it out, or DELETE the changes of the rule.",
                numbers={"field": field},
            )
    changed: RuleNow = await service.run(service.alerts.change_rule, name, changes, caller)
    return JSONResponse(rule_view(changed))


@router.delete(
    "/rules/{name}",
    summary="Put a rule of alerts back",
    response_model=schemas.AlertRule,
    responses=problems("not_found"),
)
async def reset_rule(service: ServiceGiven, caller: CallerGiven, name: str) -> JSONResponse:
    """Its defaults hold again. Idempotent."""
    return JSONResponse(rule_view(await service.run(service.alerts.reset_rule, name, caller)))


@router.get(
    "/silences",
    summary="List silences",
    response_model=schemas.Page[schemas.Silence],
    responses=problems("bad_cursor"),
)
async def list_silences(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """Those that have not ended, in the order in which they were made."""
    after = decode_number("silences", cursor, 0)
    found: list[Silence] = [one for one in await service.run(service.alerts.silences) if one.id > after]
    return page(found[: limit + 1], limit, "silences", lambda one: one.id, silence_view)


@router.post(
    "/silences",
    status_code=201,
    summary="Keep quiet about something",
    response_model=schemas.Silence,
    responses=problems("not_found", *_BODY),
    openapi_extra=json_body(schemas.SilenceRequest),
)
async def add_silence(request: Request, service: ServiceGiven, caller: CallerGiven) -> JSONResponse:
    """Until it ends, channels hear nothing of what it covers. Alerts are raised and kept all the same; what is still open
    at its end is told then."""
    asked = await json_model(request, schemas.SilenceRequest)
    made = await service.run(
        service.alerts.silence, caller, asked.rule, asked.subject, asked.minutes, asked.reason
    )
    return JSONResponse(silence_view(made), 201)


@router.delete(
    "/silences/{silence_id}",
    summary="End a silence",
    response_model=schemas.Silence,
    responses=problems("not_found"),
)
async def end_silence(service: ServiceGiven, caller: CallerGiven, silence_id: str) -> JSONResponse:
    """It ends now. Idempotent."""
    number = _number(silence_id, "silence")
    return JSONResponse(silence_view(await service.run(service.alerts.end_silence, number, caller)))


@router.get(
    "/channels",
    summary="List channels",
    response_model=schemas.Page[schemas.AlertChannel],
    responses=problems("bad_cursor"),
)
async def list_channels(service: ServiceGiven, limit: Limit = 50, cursor: Cursor = None) -> JSONResponse:
    """In order of name, with how they do. They are made by the setting `alert_channels`."""
    after = decode_cursor("channels", cursor) if cursor is not None else ""
    found = [one for one in await service.run(service.alerts.channels) if one[0].name > after]
    return page(
        found[: limit + 1], limit, "channels", lambda one: one[0].name, lambda one: channel_view(*one)
    )


@router.post(
    "/channels/{name}/test",
    summary="Test a channel",
    response_model=schemas.ChannelTested,
    responses=problems("not_found"),
)
async def try_channel(service: ServiceGiven, caller: CallerGiven, name: str) -> JSONResponse:
    """Send a test message over it from this server, and say how that went; within a minute."""
    answer = asyncio.wrap_future(await service.run(service.alerts.test, name, caller))
    try:
        error = await asyncio.wait_for(asyncio.shield(answer), TEST_S)
    except TimeoutError:
        error = f"It has not answered within {TEST_S:.0f} s; it is not known whether the message arrived."
    return JSONResponse({"name": name, "sent": error is None, "error": error})


@router.get(
    "/{alert_id}",
    summary="Show an alert",
    response_model=schemas.AlertWithHistory,
    responses=problems("not_found"),
)
async def show_alert(service: ServiceGiven, alert_id: str) -> JSONResponse:
    """With its history, what to do, and who was told."""
    alert, silenced, notices = await service.run(service.alerts.get, _number(alert_id, "alert"))
    advice = service.alerts.advice(alert.rule)
    return JSONResponse({**alert_view(alert, silenced), **history_view(alert, notices, advice)})


@router.post(
    "/{alert_id}/acknowledge",
    summary="Acknowledge an alert",
    response_model=schemas.Alert,
    responses=problems("not_found", *_BODY),
    openapi_extra=json_body(schemas.AcknowledgeRequest, required=False),
)
async def acknowledge_alert(
    request: Request, service: ServiceGiven, caller: CallerGiven, alert_id: str
) -> JSONResponse:
    """Say that it is seen: it is not told again, unless it grows worse or ends. Idempotent."""
    number = _number(alert_id, "alert")
    asked = await json_model(request, schemas.AcknowledgeRequest)
    return JSONResponse(
        alert_view(*await service.run(service.alerts.acknowledge, number, caller, asked.note))
    )


def _number(text: str, what: str) -> int:
    """The number that an id is. Raises NotFound for what no id can be."""
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise NotFound(f"There is no {what} {text!r:.80}.")
    return int(text)
