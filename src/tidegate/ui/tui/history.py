"""How the machine's load went in the last minutes, as far as it was watched."""

from __future__ import annotations

from collections import deque

from tidegate.ui.tui.picture import Picture

STEP_S = 5.0
MOST = 120
"""Ten minutes."""


class _Trend:
    """The highest share of each step of time."""

    def __init__(self) -> None:
        self._steps: deque[tuple[int, float]] = deque(maxlen=MOST)

    def add(self, step: int, share: float) -> None:
        if self._steps and self._steps[-1][0] == step:
            share = max(share, self._steps.pop()[1])
        self._steps.append((step, share))

    @property
    def shares(self) -> list[float]:
        """The oldest first; a step that nobody saw is left out."""
        return [share for _, share in self._steps]


class History:
    """Shares from 0 to 1 of CPU and memory in use, one for each `STEP_S` seconds."""

    def __init__(self) -> None:
        self._cpu, self._memory = _Trend(), _Trend()

    def add(self, picture: Picture) -> None:
        system = picture.part("system")
        if system:
            step = int(picture.taken_at.timestamp() // STEP_S)
            self._cpu.add(step, system["cpu"]["percent"] / 100.0)
            self._memory.add(step, system["memory"]["percent"] / 100.0)

    @property
    def cpu(self) -> list[float]:
        return self._cpu.shares

    @property
    def memory(self) -> list[float]:
        return self._memory.shares
