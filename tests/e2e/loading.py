"""The script for load tests, run as a user runs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.environment import others_environment

SCRIPT = Path(__file__).parents[2] / "scripts" / "load_test.py"


def load_test(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments],
        env=others_environment(),
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
