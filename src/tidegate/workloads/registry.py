"""Finds the kinds of jobs by the entry point group `tidegate.workloads`; an entry point's name is its
kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from tidegate.errors import SettingError
from tidegate.ports import Workload

GROUP = "tidegate.workloads"
_RUNNER = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_workloads(points: Iterable[EntryPoint] | None = None) -> dict[str, Workload]:
    """One instance of every installed kind, by kind.

    Raises SettingError naming the entry point and its distribution when one cannot be loaded, does not keep
    to `ports.Workload`, or claims a kind that another has.
    """
    found: dict[str, Workload] = {}
    for point in sorted(
        entry_points(group=GROUP) if points is None else points, key=lambda p: (p.name, p.value)
    ):
        if point.name in found:
            raise SettingError(
                f"Two plugins offer the kind {point.name!r}. {_where(point)} is one; uninstall one of them."
            )
        found[point.name] = _load(point)
    return found


def _load(point: EntryPoint) -> Workload:
    try:
        workload: Workload = point.load()()
    except Exception as error:  # whatever a plugin raises, the message must name the plugin
        raise SettingError(
            f"The plugin for kind {point.name!r} cannot be loaded: {type(error).__name__}: {error}. "
            f"{_where(point)} is broken; mend or uninstall it."
        ) from error
    fault = _fault(point.name, workload)
    if fault:
        raise SettingError(
            f"The plugin for kind {point.name!r} cannot be used: {fault}. {_where(point)} needs mending."
        )
    return workload


def _fault(kind: str, workload: object) -> str | None:
    if getattr(workload, "kind", None) != kind:
        return f"its `kind` is {getattr(workload, 'kind', None)!r}, its entry point's name is {kind!r}"
    if not isinstance(getattr(workload, "fields", None), frozenset):
        return "its `fields` is not a frozenset of names"
    if not _RUNNER.fullmatch(str(getattr(workload, "runner", ""))):
        return "its `runner` is not of the form 'package.module:function'"
    if not callable(getattr(workload, "order", None)):
        return "it has no method `order`"
    return None


def _where(point: EntryPoint) -> str:
    distribution = f" of the package {point.dist.name}" if point.dist else ""
    return f"The entry point {point.value!r}{distribution}"
