"""Runs benchmarks, each in a process of its own, prints their figures, and writes the page when asked.

Exit status 1: a benchmark failed, or a claim about correctness does not hold. A figure that falls short fails nothing.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine, report
from benchmarks.servers import ROOT

NAMES = [
    "decide",
    "machinery",
    "real",
    "responsive",
    "overload",
    "ingest",
    "spill",
    "idle",
    "executors",
    "cancels",
    "faults",
    "bombs",
    "recovery",
    "ledger",
    "usage",
    "cluster",
    "targets",
    "tables",
    "lint",
    "soak",
]
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "performance.md"
_QUIET_WITHIN_S = 20.0


def main() -> int:
    given = _arguments()
    if given.only:
        return _measure_here(given.only, given.quick, given.result)
    results = report.read_results(RESULTS)
    failed = []
    for name in given.names or NAMES:
        try:
            results[name] = measured = _measure(
                name, given.quick, PAGE.parent if given.write else given.pictures
            )
        except RuntimeError as error:
            print(f"{name} failed: {error}", flush=True)
            failed.append(name)
            continue
        print(report.lines(measured.figures), flush=True)
        if any(figure.verdict == "broken" for figure in measured.figures):
            failed.append(name)
        if given.write:
            _write(results)
    print(f"failed: {', '.join(failed)}" if failed else "every claim holds")
    return 1 if failed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which; default all: {', '.join(NAMES)}")
    parser.add_argument("--quick", action="store_true", help="smaller numbers, less to be trusted")
    parser.add_argument("--write", action="store_true", help="keep the figures and write docs/performance.md")
    parser.add_argument(
        "--pictures", type=Path, help="folder to write the pictures of this run to; with --write, docs"
    )
    parser.add_argument("--only", help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    unknown = sorted(set(given.names) - set(NAMES))
    if unknown:
        parser.error(f"There is no benchmark {unknown[0]!r}; there are {', '.join(NAMES)}.")
    return given


def _measure(name: str, quick: bool, pictures: Path | None) -> report.Measured:
    """Run one benchmark in a process group of its own, so that nothing of it outlives its time. Its picture, if it makes one,
    goes to that folder.
    """
    busy = _wait_for_quiet()
    facts: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "quick": quick}
    facts |= {"busy": round(busy, 3), "load": round(machine.load(), 2)}
    print(f"{name} ... (load {facts['load']}, {busy:.0%} of the CPUs in use)", flush=True)
    began = time.monotonic()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        command = [sys.executable, "-m", "benchmarks", "--only", name, "--result", file.name]
        _run_within(command + ["--quick"] * quick, importlib.import_module(f"benchmarks.{name}").TIME_LIMIT_S)
        values = json.loads(Path(file.name).read_text())
    if (picture := values.pop("picture", None)) is not None:
        facts["picture"] = f"{name}.svg"
        if pictures is not None:
            (pictures / f"{name}.svg").write_text(picture, encoding="utf-8")
    facts |= {"took_s": round(time.monotonic() - began, 1), "machine": machine.describe()}
    return report.Measured.from_json({**values, **facts})


def _wait_for_quiet() -> float:
    """The share of the CPUs in use once it is small, or after a while whatever it is."""
    until = time.monotonic() + _QUIET_WITHIN_S
    while (busy := machine.busy_share()) > report.QUIET and time.monotonic() < until:
        time.sleep(1.0)
    return busy


def _run_within(command: list[str], limit_s: float) -> None:
    process = subprocess.Popen(command, cwd=ROOT, start_new_session=True)
    try:
        status = process.wait(limit_s)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"it did not end within {limit_s:g} s.") from None
    finally:
        _end_group(process.pid)
    if status:
        raise RuntimeError(f"it ended with status {status}.")


def _end_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _measure_here(name: str, quick: bool, result: Path) -> int:
    module = importlib.import_module(f"benchmarks.{name}")
    figures = [figure.as_json() for figure in module.run(quick)]
    values = {"title": module.TITLE, "about": module.ABOUT, "figures": figures}
    if hasattr(module, "picture"):
        values["picture"] = module.picture()
    result.write_text(json.dumps(values))
    return 0


def _write(results: dict[str, report.Measured]) -> None:
    report.write_results(RESULTS, results)
    PAGE.write_text(report.page(results, NAMES), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
