"""Shapes of sources and uploads."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from tidegate.api.schemas.common import Column, Shape


class SourceRequest(Shape):
    """A file, glob or folder on the server to register."""

    model_config = ConfigDict(
        json_schema_extra={"example": {"name": "trips", "path": "files/trips-*.parquet"}}
    )
    name: str = Field(min_length=1, max_length=63, description="Letters, digits and underscores.")
    path: str = Field(min_length=1, max_length=4096, description="Absolute, or below the data directory.")
    format: str | None = Field(
        None,
        max_length=20,
        description="`csv`, `parquet` or `json`; default: by the name. Also `excel` and `arrow`, which become Parquet.",
    )
    sheet: str | int | None = Field(
        None,
        description="Of an Excel file: the sheet, by name or place; default: the first visible one with rows.",
    )
    shared: bool = Field(False, description="Whether every owner may read it.")
    options: dict[str, JsonValue] | None = Field(
        None, description="Reader options that shall not be guessed, such as `delim`; docs/sql.md lists them."
    )


class Source(BaseModel):
    """A named data set."""

    name: str
    format: str
    path: str
    owner: str
    created_at: str
    columns: list[Column]
    column_count: int
    row_count: int | None = Field(None, description="Null when nobody has counted yet.")
    size_bytes: int | None = None
    file_count: int
    managed: bool = Field(description="Whether the file is deleted with the source.")
    job_id: str | None = Field(None, description="The job that made it.")
    lineage: list[str] = Field(description="The sources it was made from.")
    sql: str | None = None
    shared: bool = Field(description="Whether every owner may read it.")
    options: dict[str, Any]
    links: dict[str, str]


class UploadAnswer(BaseModel):
    """A file that is now on the server's disk, whole and written through."""

    name: str
    path: str
    size_bytes: int
    sha256: str
    source: Source | None = None
