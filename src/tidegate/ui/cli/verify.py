"""`tidegate verify`: the fault suite, on a cluster of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from tidegate.errors import InvalidInput, Unavailable
from tidegate.testing.servers import MissingProgram
from tidegate.testing.verify import DATABASES, Tally
from tidegate.testing.verify import verify as run
from tidegate.ui.cli.exits import JOB_FAILED
from tidegate.ui.cli.options import Json
from tidegate.ui.cli.output import print_facts, print_json

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def verify(
    seeds: Annotated[int, typer.Option("--seeds", min=1, help="How many runs.")] = 10,
    first: Annotated[int, typer.Option("--first", help="Seed of the first run.")] = 1,
    database: Annotated[
        str, typer.Option("--database", help=f"One of {', '.join(DATABASES)}.")
    ] = "postgresql",
    keep: Annotated[
        Path | None,
        typer.Option("--keep", help="Folder for histories and logs of runs that broke a promise."),
    ] = None,
    json: Json = False,
) -> None:
    """Start a cluster of its own, hurt it at random, and check that nothing is lost, doubled or oversold.

    A run takes about 20 seconds. Needs the Debian packages postgresql or mariadb-server, and redis-server; cut links need
    root, clock steps the package libfaketime. The exit code is 1 when a promise was broken.
    """
    if database not in DATABASES:
        raise InvalidInput(f"There is no database {database!r}; choose {' or '.join(DATABASES)}.")
    try:
        tally = run(
            range(first, first + seeds), database=database, keep=keep, told=_nothing if json else print
        )
    except MissingProgram as error:
        raise Unavailable(str(error), code="missing_program") from None
    if json:
        print_json(_as_json(tally))
    else:
        print()
        print_facts(_facts(tally))
    if tally.violations:
        raise typer.Exit(JOB_FAILED)


def _facts(tally: Tally) -> list[tuple[str, Any]]:
    broken = ", ".join(str(seed) for seed in tally.violations) or "none"
    faults = ", ".join(f"{count} × {name}" for name, count in sorted(tally.faults.items()))
    return [
        ("runs", f"{tally.seeds} in {tally.took_s:.0f} s"),
        ("faults", faults),
        ("jobs", f"{tally.jobs}, {tally.attempts} attempts, {tally.cancels} cancelled"),
        ("left out", "; ".join(tally.left_out) or "nothing"),
        ("broken promises in seeds", broken),
    ]


def _as_json(tally: Tally) -> dict[str, Any]:
    violations = {
        str(seed): [one._asdict() for one in violations] for seed, violations in tally.violations.items()
    }
    return {**tally._asdict(), "violations": violations}


def _nothing(_: str) -> None:
    return
