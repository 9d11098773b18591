"""Tries a fresh installation of the base as its user would: `python scripts/smoke.py BIN`, with the folder of its programs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

# Without an extra, what needs it says how to get it: arguments of the command line, its variables, and words of its answer.
EXTRAS = (
    (["lint", "query.sql"], {}, "tidegate[lint]"),
    (["serve"], {"DATABASE_URL": "postgresql://nobody@127.0.0.1:9/none"}, "tidegate[postgres]"),
    (["serve"], {"DATABASE_URL": "mysql://nobody@127.0.0.1:9/none"}, "tidegate[mysql]"),
)
ARROW = "import tidegate\nwith tidegate.connect() as client: client.sql('select 1 as one').result().arrow()"


def main(programs: Path) -> int:
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "PATH": f"{programs.resolve()}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "HOME": folder,
            "TIDEGATE_DATA_DIR": f"{folder}/data",
            "TIDEGATE_PORT": "0",
            "TIDEGATE_YIELD_CPU": "off",
            "LANG": "C.UTF-8",
        }
        Path(folder, "query.sql").write_text("select 1\n")

        def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                words, cwd=folder, env={**environment, **variables}, capture_output=True, text=True, timeout=120, check=False
            )  # fmt: skip

        told = []
        answered = run("tidegate", "sql", "select 42 as answer")
        if answered.stdout.split() != ["answer", "42"]:
            told.append(f"`tidegate sql` answered {answered.stdout!r} {answered.stderr!r}")
        looked = run("tidegate", "doctor")
        if looked.returncode:
            told.append(f"`tidegate doctor` ended with {looked.returncode}: {looked.stdout}{looked.stderr}")
        tries = [(run("tidegate", *words, **variables), says) for words, variables, says in EXTRAS]
        tries.append((run("python", "-c", ARROW), "tidegate[arrow]"))
        for done, says in tries:
            if not done.returncode or says not in done.stdout + done.stderr:
                told.append(f"{done.args} did not say {says!r}: {done.returncode} {done.stdout}{done.stderr}")
    print("\n".join(told) or "smoke: sql, doctor and the words on extras are as they should be")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
