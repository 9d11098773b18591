"""What names the answer on a file: its content, the configuration, and the programs that look at it.

Files of one digest have one answer, whatever they are called and wherever they lie: the engine is not told. What may differ
from one run to the next (the time that a file took, the memory it needed) is in no answer that is kept. The linter itself
is not loaded here: the server makes the digests of statements.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, entry_points, version

from tidegate.workloads.lint.options import LintOptions

_HAVE_A_SAY = ("tidegate", "sqlfluff", "sqlfluffrs", "jinja2", "chardet", "regex")
_PLUGINS = "sqlfluff"
_WITHOUT_A_SAY = frozenset({"file_timeout_s"})
"""Of the options: a file that is ended by its time has no answer that is kept."""


class Digests:
    """Names answers under the options of one job. Threads may share it."""

    def __init__(self, options: LintOptions) -> None:
        said = {name: value for name, value in options.to_json().items() if name not in _WITHOUT_A_SAY}
        self._begun = hashlib.sha256()
        _add(self._begun, programs())
        # Not sorted: templates go through what `context` holds in the order in which it came.
        _add(self._begun, json.dumps(said, separators=(",", ":")).encode())

    def of(self, raw: bytes, configs: Iterable[tuple[str, str]] = ()) -> str:
        """Of a file of that content under the `.sqlfluff` files on the way to it: folders, outermost first, and texts.

        Of a folder nothing matters but whether it is the top: there alone a file may choose the templater.
        """
        made = self._begun.copy()
        for folder, text in configs:
            _add(made, b"below" if folder else b"top")
            _add(made, text.encode("utf-8", "surrogatepass"))
        _add(made, b"content")
        _add(made, raw)
        return made.hexdigest()


@functools.cache
def programs() -> bytes:
    """Names and versions of all programs that have a say in an answer, the linter's plugins among them."""
    plugins = {point.dist.name for point in entry_points(group=_PLUGINS) if point.dist is not None}
    versions = {name: _version(name) for name in (*_HAVE_A_SAY, *plugins)}
    return json.dumps([platform.python_version(), sorted(versions.items())]).encode()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _add(to: hashlib._Hash, part: bytes) -> None:
    """With its length, so that no two lists of parts look alike."""
    to.update(len(part).to_bytes(8, "big"))
    to.update(part)
