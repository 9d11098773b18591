"""Results as Arrow tables and data frames, in a process of its own: pyarrow would stay loaded in this one."""

from __future__ import annotations

import subprocess
import sys

import pytest

SQL = (
    "select i as n, 'x' || i as t, date '2026-01-01' + i::int as d, (i / 4)::decimal(9, 2) as m, [i, null] as l "
    "from range(3) r(i) order by i"
)
PROGRAM = f"""
import asyncio, datetime, decimal, sys
import tidegate

def check(table):
    assert table.column_names == ["n", "t", "d", "m", "l"], table.schema
    assert table.to_pylist()[1] == {{
        "n": 1, "t": "x1", "d": datetime.date(2026, 1, 2), "m": decimal.Decimal("0.25"), "l": [1, None]
    }}, table.to_pylist()
    assert table.num_rows == 3

with tidegate.connect(sys.argv[1]) as client:
    result = client.sql({SQL!r}).wait().result()
    check(result.arrow())
    if sys.argv[2] == "frames":
        frame = result.df()
        assert frame.shape == (3, 5) and frame["n"].sum() == 3
    result.document["path"] = None
    check(result.arrow())

async def ask():
    async with tidegate.connect_async(sys.argv[1]) as client:
        job = await client.sql({SQL!r})
        result = await (await job.wait()).result()
        check(await result.arrow())
        if sys.argv[2] == "frames":
            assert (await result.df()).shape == (3, 5)
        result.document["path"] = None
        check(await result.arrow())

asyncio.run(ask())
print("both faces")
"""


@pytest.mark.parametrize("what", ["tables", "frames"])
def test_results_are_arrow_tables_and_data_frames_in_both_faces(client, what):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, client.url, what],
        capture_output=True,
        text=True,
        timeout=55,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "both faces\n"), done.stderr
