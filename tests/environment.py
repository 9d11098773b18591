"""The environment of programs that tests start as a user would."""

from __future__ import annotations

import os


def others_environment() -> dict[str, str]:
    """This process's, without settings of Tidegate but the one that has it only watch pressure: tests fill their machine."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TIDEGATE_") or name == "TIDEGATE_PRESSURE"
    }
