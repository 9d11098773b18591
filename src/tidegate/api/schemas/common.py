"""Shapes that all share: the base of what comes in, problems, pages, columns."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

Item = TypeVar("Item")


class Shape(BaseModel):
    """Base of what comes in: unknown fields are refused, NaN is no number."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Problem(BaseModel):
    """Every error, as RFC 9457 has it. `numbers` holds the figures of the detail."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": "urn:tidegate:problem:never_fits",
                "title": "It can never fit",
                "status": 422,
                "detail": "This job can never start: it asks for 12 GiB of memory, worker 'local' can give at most "
                "9.5 GiB. Lower `memory` or add a worker.",
                "code": "never_fits",
                "asked": 12884901888,
                "limit": 10200547328,
                "numbers": {"resource": "memory", "asked": 12884901888, "limit": 10200547328},
            }
        },
    )
    type: str
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable; for programs.")
    field: str | None = Field(None, description="The field or parameter that is wrong.")
    asked: float | str | None = None
    limit: float | str | None = None
    retry_after_s: float | None = None
    numbers: dict[str, float | str] = Field(description="The figures of the detail, named with their units.")


class Column(BaseModel):
    name: str
    type: str


class Page(BaseModel, Generic[Item]):
    """A page of a list; `next_cursor` is null on the last one."""

    items: list[Item]
    next_cursor: str | None = None
