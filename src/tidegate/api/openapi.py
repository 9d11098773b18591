"""The pieces of the OpenAPI description that routes do not give by themselves: bodies read by hand, and problems."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from tidegate.api import schemas
from tidegate.api.access import ACCESS
from tidegate.api.problems import MEDIA_TYPE, TITLES

Responses = dict[int | str, dict[str, Any]]

_REF = "#/components/schemas/{model}"
_BY_HAND: tuple[type[BaseModel], ...] = (
    schemas.JobRequest,
    schemas.BulkRequest,
    schemas.SourceRequest,
    schemas.QueryRequest,
    schemas.IngestPreviewRequest,
    schemas.QueueChange,
    schemas.PressureRuleChanges,
    schemas.SafeModeOrder,
    schemas.KeyRequest,
    schemas.AcknowledgeRequest,
    schemas.SilenceRequest,
    schemas.AlertRuleChange,
    schemas.StatisticsReport,
    schemas.Problem,
    schemas.Page[schemas.Event],
)


_OF_THE_DOOR = ("unauthenticated", "forbidden", "too_many_failures", "rate_limited", "overloaded")


def problems(*codes: str) -> Responses:
    """OpenAPI responses for the problems a route may answer with, beside those that any route may."""
    by_status: dict[int, list[str]] = {}
    for code in sorted({*codes, "invalid_input", "host_not_allowed", "unavailable", *_OF_THE_DOOR}):
        by_status.setdefault(TITLES[code][0], []).append(code)
    return {
        status: {
            "description": "; ".join(f"{TITLES[code][1]} (`{code}`)" for code in found),
            "content": {MEDIA_TYPE: {"schema": {"$ref": _REF.format(model="Problem")}}},
        }
        for status, found in sorted(by_status.items())
    }


def json_body(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """`openapi_extra` of a route that reads its JSON body itself."""
    content = {"application/json": {"schema": {"$ref": _REF.format(model=model.__name__)}}}
    return {"requestBody": {"required": required, "content": content}}


def raw_body(description: str) -> dict[str, Any]:
    """`openapi_extra` of a route that takes raw bytes."""
    content = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


def content(*media_types: str, description: str) -> dict[str, Any]:
    """One OpenAPI response of other types than JSON."""
    return {
        "description": description,
        "content": {name: {"schema": {"type": "string"}} for name in media_types},
    }


def _describe_keys(made: dict[str, Any]) -> None:
    """How a key is sent, and for which operations none is needed anywhere."""
    made["components"]["securitySchemes"] = {
        "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, `tg_...`."},
        "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same."},
    }
    made["security"] = [{"bearer": []}, {"header": []}]
    for (method, path), least in ACCESS.items():
        operation = made["paths"].get(path.replace(":path}", "}"), {}).get(method.lower())
        if operation is None:
            continue
        if least is None:
            operation["security"] = []
        else:
            operation["x-least-role"] = least.value


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description, made once."""
    if app.openapi_schema is None:
        made = get_openapi(
            title=app.title,
            version=app.version,
            summary=app.summary,
            description=app.description,
            routes=app.routes,
            tags=app.openapi_tags,
        )
        _, definitions = models_json_schema([(model, "validation") for model in _BY_HAND], ref_template=_REF)
        components = made.setdefault("components", {}).setdefault("schemas", {})
        for name, schema in definitions["$defs"].items():
            components.setdefault(name, schema)
        _describe_keys(made)
        app.openapi_schema = made
    return app.openapi_schema
