"""What goes wrong at a target, in words for its user. No URL, user or password is ever part of it."""

from __future__ import annotations

from tidegate.workloads.errors import TaskError

_LONGEST = 500
_ADVICE = {
    "target_denied": " Grant its user the right that is missing, or load as another user.",
    "target_full": " Make room there, and load again.",
}


def failure(what: str, told: str, *, code: str, retry: bool) -> TaskError:
    """`what` failed; the database told why. `retry` among the numbers is 1 where trying again may help."""
    hint = " It may pass: try again." if retry else _ADVICE.get(code, "")
    return TaskError(
        f"{what} failed: {_first_line(told)}. Nothing was loaded.{hint}",
        code=code,
        numbers={"retry": int(retry)},
    )


def refused_row(told: str, row: int | None) -> TaskError:
    """The database refused a row, and with it the load."""
    numbers: dict[str, int | float | str] = {"retry": 0}
    where = ""
    if row is not None:
        numbers["data_row"] = row
        where = f" Row {row} of those sent was the one."
    return TaskError(
        f"The table refuses what the file holds: {_first_line(told)}.{where} Nothing was loaded.",
        code="row_refused",
        numbers=numbers,
    )


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    return " ".join(lines)[:_LONGEST].rstrip(".?")
