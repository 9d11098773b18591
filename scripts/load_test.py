"""Load test: a mix of small jobs on a Tidegate server that runs, and what became of them.

    python scripts/load_test.py http://127.0.0.1:8420 --rate 20 --for 60
    python scripts/load_test.py http://127.0.0.1:8420 --share 0.5 --for 600

The server may run alone or with a cluster behind it. The key is that of TIDEGATE_API_KEY. Exit codes: 0 every job ended as it
should, 1 some did not or were refused for good, 2 no server, or wrong arguments, 130 Ctrl-C: then jobs on their way go on.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.load import MIX, Load, at_most, at_rate, connected
from tidegate.errors import TidegateError

BEST_CALLERS = 8
BEST_S = 15.0


def main() -> int:
    given = _arguments()
    try:
        load = asyncio.run(_run(given))
    except TidegateError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(json.dumps(_figures(load), indent=2) if given.json else _told(load))
    return 1 if load.wrong or load.refused else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("url", nargs="?", default=os.environ.get("TIDEGATE_URL", "http://127.0.0.1:8420"))
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--rate", type=_above_zero, default=10.0, help="jobs a second; default 10")
    how.add_argument(
        "--share", type=_above_zero, help="this share of the best, which is found first; 0.5 is half load"
    )
    parser.add_argument("--for", dest="for_s", type=_above_zero, default=30.0, help="seconds; default 30")
    parser.add_argument("--seed", type=int, default=1, help="of the order in which jobs come; default 1")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    return parser.parse_args()


def _above_zero(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return value


async def _run(given: argparse.Namespace) -> Load:
    chance = random.Random(given.seed)
    async with connected(given.url, os.environ.get("TIDEGATE_API_KEY")) as client:
        rate = given.rate
        if given.share is not None:
            best = await at_most(client, BEST_CALLERS, BEST_S, chance)
            rate = given.share * best.per_second
            print(f"best {best.per_second:.1f} jobs/s; now {rate:.1f} jobs/s", file=sys.stderr, flush=True)
        return await at_rate(client, rate, given.for_s, chance)


def _figures(load: Load) -> dict[str, object]:
    return {
        "sent": dict(load.sent),
        "ended": len(load.ended.values),
        "jobs_per_s": round(load.per_second, 2),
        "refused": load.refused,
        "wrong": load.wrong[:20],
        "accepted_ms": _quantiles(load.accepted.values),
        "ended_ms": _quantiles(load.ended.values),
    }


def _quantiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    places = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    return {
        name: round(ordered[min(int(share * len(ordered)), len(ordered) - 1)] * 1000, 1)
        for name, share in places.items()
        if ordered
    }


def _told(load: Load) -> str:
    figures = _figures(load)
    lines = [f"{load.sent[kind.name]:8,} x {kind.name}" for kind in MIX]
    lines.append(
        f"{len(load.ended.values):8,} ended, {load.per_second:.1f} a second; {load.refused} refused for good"
    )
    for name, key in (("accepted after", "accepted_ms"), ("ended after", "ended_ms")):
        times = figures[key]
        assert isinstance(times, dict)
        lines.append(f"{name:>20} " + ", ".join(f"{place} {value:,.1f} ms" for place, value in times.items()))
    lines += [f"   wrong: {wrong}" for wrong in load.wrong[:20]]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
