"""Shapes of interactive queries."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tidegate.api.schemas.common import Column, Shape


class Limits(BaseModel):
    """The limits that an interactive answer was made under."""

    rows: int
    time_s: float
    bytes: int


class Rows(BaseModel):
    """An interactive answer. Values are as docs/sql.md says: dates as ISO 8601, large numbers and decimals as text."""

    columns: list[Column]
    rows: list[list[JsonValue]]
    row_count: int
    truncated: bool
    reached: Literal["rows", "bytes"] | None = Field(None, description="The limit that cut the rows off.")
    limits: Limits
    elapsed_ms: float
    job_id: str


class QueryRequest(Shape):
    """A small query that is answered in the request itself."""

    model_config = ConfigDict(json_schema_extra={"example": {"sql": "select 42 as answer", "limit": 100}})
    sql: str = Field(min_length=1, max_length=1024 * 1024)
    limit: int | None = Field(None, ge=1, description="Most rows; default and upper limit: `query_max_rows`.")
    timeout_s: float | None = Field(
        None, gt=0, description="Longest time; default and upper limit: `query_timeout_s`."
    )
    memory: int | str | None = Field(None, description="Bytes, or text such as `512MiB`.")
