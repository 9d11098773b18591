"""What a worker asks of its sandboxes: orders from claimed attempts, with their private folders."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tidegate.core.attempt import Assignment
from tidegate.core.job import AttemptKey
from tidegate.runtime.attempt_folders import WorkFolders
from tidegate.runtime.publish import DataFolders
from tidegate.runtime.sandbox import SandboxOrder, Turn
from tidegate.runtime.task_file import INPUT_FOLDER


class Orders:
    """Makes orders and clears up after them. `runners` by kind; the kinds in `expanding` may add tasks to their jobs; see
    `WorkFolders` for `scratch`."""

    def __init__(
        self,
        folders: DataFolders,
        runners: Mapping[str, str],
        expanding: Collection[str],
        target_url: Callable[[str], str | None],
        interactive_queue: str,
        scratch: Path | None,
    ) -> None:
        self._folders = folders
        self._private = WorkFolders(folders.attempts, scratch)
        self._runners = runners
        self._expanding = frozenset(expanding)
        self._target_url = target_url
        self._interactive_queue = interactive_queue
        self._cleaner = ThreadPoolExecutor(1, thread_name_prefix="tidegate-clean")

    def order(self, batch: Sequence[Assignment]) -> SandboxOrder:
        """One sandbox for all of them, named after the first. Raises OSError when its folder cannot be made."""
        first, *others = batch
        folder, hand_over = self._private.take(first.key)
        return SandboxOrder(
            key=first.key,
            runner=self._runners[first.kind],
            spec=self._spec(first),
            expands=first.kind in self._expanding,
            resources=first.resources,
            timeout_s=first.timeout_s,
            folder=folder,
            hand_over=hand_over,
            interactive=first.queue == self._interactive_queue,
            log_path=self._log_path(first),
            others=[
                Turn(each.key, self._spec(each), each.timeout_s, self._log_path(each)) for each in others
            ],
        )

    def clear(self, key: AttemptKey, *, gone: bool) -> None:
        """The folder of a sandbox that is over; kept for a later one if nothing is in it and its processes are `gone`."""
        if not (gone and self._private.keep(key)):
            self._cleaner.submit(self._private.remove, key)

    def clear_scratch(self) -> None:
        """Delete what an earlier worker of this name has left, once none of its processes lives."""
        self._private.clear_scratch()

    def clean_now(self) -> None:
        """Return once all that was to be removed so far is gone."""
        self._cleaner.submit(lambda: None).result()

    def close(self) -> None:
        self._cleaner.shutdown(wait=True)

    def _log_path(self, assignment: Assignment) -> str:
        return str(self._folders.log(assignment.key))

    def _spec(self, assignment: Assignment) -> Mapping[str, Any]:
        return self._with_target(self._with_input(assignment))

    def _with_target(self, spec: Mapping[str, Any]) -> Mapping[str, Any]:
        """The spec with the URL of the target that it names, if it names one. No user can write that field."""
        target = spec.get("target")
        if not isinstance(target, Mapping) or "name" not in target:
            return spec
        return {**spec, "target": {**target, "url": self._target_url(str(target["name"]))}}

    def _with_input(self, assignment: Assignment) -> Mapping[str, Any]:
        """With the folder that the task which added this one has left behind, as it is called now, to be read."""
        left = assignment.spec.get(INPUT_FOLDER)
        if left is None or assignment.kind not in self._expanding:
            return assignment.spec
        folder = f"{self._folders.root}/{left}"
        readable = [*assignment.spec.get("readable_paths", ()), folder]
        return {**assignment.spec, INPUT_FOLDER: folder, "readable_paths": readable}
