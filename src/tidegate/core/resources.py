"""Amounts of CPU, memory and disk as integers, so that a ledger's sums are exact."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from tidegate.errors import InvalidInput

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_UNITS = {
    "": 1, "B": 1,
    "K": 1000, "KB": 1000, "M": 1000**2, "MB": 1000**2, "G": 1000**3, "GB": 1000**3, "T": 1000**4, "TB": 1000**4,
    "KI": KIB, "KIB": KIB, "MI": MIB, "MIB": MIB, "GI": GIB, "GIB": GIB, "TI": 1024 * GIB, "TIB": 1024 * GIB,
}  # fmt: skip
_BYTES = re.compile(r"\s*(\d{1,30}(?:\.\d{1,30})?)\s*([A-Za-z]*)\s*", re.ASCII)
_MAX_BYTES = 2**60


class Shortfall(NamedTuple):
    """One resource that does not fit: `resource` is `cpu`, `memory` or `disk`; amounts in milli-CPU or bytes."""

    resource: str
    asked: int
    available: int

    def __str__(self) -> str:
        free = max(self.available, 0)
        if self.resource == "cpu":
            return f"{count_cpus(self.asked)} asked, {format_cpus(free)} available"
        return f"{format_bytes(self.asked)} of {self.resource} asked, {format_bytes(free)} available"


@dataclass(frozen=True, slots=True)
class Resources:
    """An amount of each resource: milli-CPUs, bytes of memory, bytes of scratch disk."""

    cpu_milli: int = 0
    memory_bytes: int = 0
    disk_bytes: int = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli + other.cpu_milli,
            self.memory_bytes + other.memory_bytes,
            self.disk_bytes + other.disk_bytes,
        )

    def __sub__(self, other: Resources) -> Resources:
        return Resources(
            self.cpu_milli - other.cpu_milli,
            self.memory_bytes - other.memory_bytes,
            self.disk_bytes - other.disk_bytes,
        )

    def fits_in(self, available: Resources) -> bool:
        """Whether every amount is at most what is available. An amount of zero always fits."""
        return (
            (self.cpu_milli <= available.cpu_milli or not self.cpu_milli)
            and (self.memory_bytes <= available.memory_bytes or not self.memory_bytes)
            and (self.disk_bytes <= available.disk_bytes or not self.disk_bytes)
        )

    def shortfalls(self, available: Resources) -> tuple[Shortfall, ...]:
        """Which amounts do not fit, in the order CPU, memory, disk; empty when all fit."""
        pairs = (
            ("cpu", self.cpu_milli, available.cpu_milli),
            ("memory", self.memory_bytes, available.memory_bytes),
            ("disk", self.disk_bytes, available.disk_bytes),
        )
        return tuple(Shortfall(name, asked, free) for name, asked, free in pairs if asked and asked > free)

    def __str__(self) -> str:
        return f"{count_cpus(self.cpu_milli)}, {format_bytes(self.memory_bytes)} of memory"


def parse_bytes(value: int | float | str, *, name: str = "memory") -> int:
    """Bytes from a number or from text such as `512MiB`, `2GiB`, `1.5G` (G is 10⁹, GiB is 2³⁰).

    Raises InvalidInput for anything else, for negative amounts and for amounts above 1 EiB.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(f"{name} must be a number of bytes or text like '2GiB', not {value!r}.")
    if isinstance(value, str):
        match = _BYTES.fullmatch(value)
        factor = _UNITS.get(match.group(2).upper()) if match else None
        if match is None or factor is None:
            raise InvalidInput(
                f"{name} must be a number of bytes or text like '512MiB' or '2GiB', not {value!r}."
            )
        amount = float(match.group(1)) * factor if "." in match.group(1) else int(match.group(1)) * factor
    else:
        amount = value
    if not 0 <= amount <= _MAX_BYTES:  # also refuses NaN
        raise InvalidInput(f"{name} must be between 0 and 1 EiB, not {value!r}.")
    return int(amount)


def parse_cpus(value: int | float | str, *, name: str = "cpus") -> int:
    """Milli-CPUs from a number of CPUs such as `2`, `0.5` or `"1.5"`. Raises InvalidInput outside 0 to 100,000."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise InvalidInput(f"{name} must be a number of CPUs, not {value!r}.")
    try:
        cpus = float(value)
    except ValueError:
        raise InvalidInput(f"{name} must be a number of CPUs, not {value!r}.") from None
    if not 0 <= cpus <= 100_000:
        raise InvalidInput(f"{name} must be between 0 and 100000, not {value!r}.")
    return round(cpus * 1000)


def format_bytes(amount: int) -> str:
    """Text for people with three significant figures at least: `9.5 GiB`, `256 MiB`, `812 B`."""
    for unit, size in (("TiB", 1024 * GIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)):
        if abs(amount) >= size:
            value = amount / size
            return f"{value:.0f} {unit}" if value >= 100 or value == int(value) else f"{value:.3g} {unit}"
    return f"{amount} B"


def format_cpus(cpu_milli: int) -> str:
    """Text for people: `2`, `0.5`."""
    return f"{cpu_milli / 1000:g}"


def count_cpus(cpu_milli: int) -> str:
    """Text for people, with the noun: `1 CPU`, `2 CPUs`, `0.5 CPUs`."""
    return f"{format_cpus(cpu_milli)} CPU{'' if cpu_milli == 1000 else 's'}"
