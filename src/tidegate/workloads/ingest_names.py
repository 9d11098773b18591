"""Which tables the sheets of files go to, and which files may be tables at all."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tidegate.core.names import check_source_name, source_name_of
from tidegate.errors import InvalidInput
from tidegate.workloads.tables.sizing import CSV_ENDINGS, WORKBOOK_ENDINGS

TABLE_SUFFIXES: Mapping[str, str] = {
    **dict.fromkeys(CSV_ENDINGS, "csv"),
    **dict.fromkeys(WORKBOOK_ENDINGS, "workbook"),
}
"""Endings of files that a folder stands for. Behind those of csv `.gz` or `.zst` may stand."""
_OTHER_FORMATS = (
    ".parquet",
    ".pq",
    ".json",
    ".jsonl",
    ".ndjson",
    ".arrow",
    ".feather",
    ".ipc",
    ".db",
    ".pdf",
    ".docx",
)
_PLACEHOLDER = re.compile(r"\{(file|sheet)\}")
_LONGEST = 200
MOST_SOURCE_NAME = 63
BAD_ROWS = "_bad_rows"


def is_workbook(path: str) -> bool:
    """Whether a file has sheets, by its ending."""
    return path.lower().endswith(WORKBOOK_ENDINGS)


def refuse_other_formats(path: str) -> None:
    """Raise InvalidInput for a file of which its ending says that it is neither a workbook nor CSV."""
    ending = os.path.splitext(path.lower())[1]
    if ending in _OTHER_FORMATS:
        raise InvalidInput(
            f"{os.path.basename(path)!r:.200} is no table that can be loaded: ingest reads Excel and CSV files. Register "
            "Parquet, JSON and Arrow files as sources.",
            code="not_a_table",
        )


@dataclass
class TableNames:
    """Names of tables from a template in which `{file}` and `{sheet}` stand for what they say.

    Different files or sheets get different names also where cleaning would make them the same; files of the same name in
    different folders share a table.
    """

    template: str
    of_source: bool
    _taken: dict[str, str] = field(default_factory=dict)

    @classmethod
    def asked(cls, table: object, *, of_source: bool, many_sheets: bool) -> TableNames:
        """By default a table is called after its file, and its sheet if there may be several. Raises InvalidInput."""
        if table is None:
            return cls("{file}_{sheet}" if many_sheets else "{file}", of_source)
        if (
            not isinstance(table, str)
            or not table.strip()
            or len(table) > _LONGEST
            or not table.isprintable()
        ):
            raise InvalidInput(
                f"`table` must be 1 to {_LONGEST} printable characters, in which {{file}} and {{sheet}} may stand, not "
                f"{table!r:.80}."
            )
        if of_source and not _PLACEHOLDER.search(table):
            check_source_name(table, field="table")
        return cls(table.strip(), of_source)

    @property
    def by_file(self) -> bool:
        return "{file}" in self.template

    @property
    def by_sheet(self) -> bool:
        return "{sheet}" in self.template

    def of(self, path: str, sheet: str | None) -> str:
        """The table of a sheet of a file. Raises InvalidInput where no source may be called so."""
        return self._unique(self._filled(_stem(path), sheet or ""))

    def for_sheets(self, path: str) -> dict[str, Any]:
        """What a task needs to name the tables of a workbook's sheets: see `of_sheets`."""
        return {"template": self.template, "of_source": self.of_source, "path": path}

    @classmethod
    def of_sheets(cls, spec: Mapping[str, Any]) -> TableNames:
        return cls(str(spec["template"]), bool(spec["of_source"]))

    def _filled(self, stem: str, sheet: str) -> str:
        given = {"file": stem, "sheet": sheet}
        text = _PLACEHOLDER.sub(lambda found: given[found[1]], self.template)
        return "".join(char if char.isprintable() else "_" for char in text).strip(" _") or "table"

    def _unique(self, text: str) -> str:
        number, made = 1, self._name(text, "")
        while self._taken.setdefault(made.casefold(), text) != text:
            number += 1
            made = self._name(text, f"_{number}")
        return made

    def _name(self, text: str, behind: str) -> str:
        if not self.of_source:
            return text[: _LONGEST - len(behind)] + behind
        if not _PLACEHOLDER.search(self.template):
            return text
        room = MOST_SOURCE_NAME - len(BAD_ROWS) - len(behind)
        name = source_name_of(text)[:room] + behind
        try:
            return check_source_name(name, field="table")
        except InvalidInput:
            return check_source_name(f"t_{name}", field="table")


def _stem(path: str) -> str:
    """The file's name without its endings."""
    name = os.path.basename(path)
    return name.partition(".")[0] or name


def grows(table: str, *, replace: bool, again: bool) -> dict[str, Any]:
    """What of a task's spec says which sources its result goes to; see `worker_ends`."""
    bad = f"{table[: MOST_SOURCE_NAME - len(BAD_ROWS)]}{BAD_ROWS}"
    return {"name": table, "bad_rows": bad, "replace": replace, "again": again}
