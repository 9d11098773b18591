"""Shapes of looks at files that are to be loaded."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue


class IngestPreviewRequest(BaseModel):
    """Which file to look at; beside these fields the reader's options of kind `ingest`: `header`, `types`, ..."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={"example": {"file": "files/orders.xlsx", "sheet": "2026", "rows": 20}},
    )
    file: str = Field(min_length=1, max_length=4096, description="Its path, as in `files` of an ingest job.")
    sheet: str | int | None = Field(None, description="Its name or place; default: the first with rows.")
    rows: int = Field(20, ge=1, le=1000, description="Rows to show.")


class PreviewedColumn(BaseModel):
    name: str = Field(description="As it will be called: cleaned and unique.")
    type: str
    original: str | None = Field(None, description="The header as it stands in the file, where it differs.")


class Sheet(BaseModel):
    name: str
    visible: bool
    row_count: int | None = Field(None, description="As the file states it, header included.")
    column_count: int | None = None


class IngestPreview(BaseModel):
    """What would be loaded, as far as the first rows tell."""

    job_id: str
    input: str
    sheets: list[Sheet]
    sheet: str | int | None = None
    header_row: int | None = None
    columns: list[PreviewedColumn]
    rows: list[list[JsonValue]]
    truncated: bool = Field(description="Whether rows were left out because they are very long.")
    facts: dict[str, Any] = Field(description="What was found out, such as encoding and delimiter.")
    estimate: dict[str, int] = Field(
        description="`memory_bytes` and `disk_bytes` that loading it will ask for."
    )
