"""A small server of its own: `python driver.py INSTANCE FOLDER RUNNER`. Starts one attempt, says so, and waits.

Prints a line of JSON per event. Environment: `DRIVER_RUNG`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from tests.runtime.lab import Lab
from tidegate.runtime.sandbox import SandboxEnd, SandboxProgress


def main(instance: str, folder: str, runner: str, spec: str = "{}") -> None:
    lab = Lab(instance, Path(folder), os.environ.get("DRIVER_RUNG", "auto"))
    rungs = lab.sandboxes.rungs
    say({"is": "open", "rung": rungs.in_use, "why": {item.rung: item.reason for item in rungs.findings}})
    lab.sandboxes.start(lab.order(runner, **json.loads(spec)))
    while True:
        for event in lab.sandboxes.poll(None):
            if isinstance(event, SandboxProgress):
                say({"is": "working", "keepers": lab.keeper_pids(), "strays": lab.strays()})
            if isinstance(event, SandboxEnd):
                say({"is": "end", "reason": event.exit and event.exit.reason, "result": event.result})
                lab.close()
                return


def say(message: dict[str, object]) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
