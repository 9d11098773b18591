"""What kind of work each route is, and how much it matters: which requests are let in while not all can be.

A path is looked up before the router has seen it, so that a refusal costs less than an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, NamedTuple, cast

from tidegate.core.criticality import Criticality
from tidegate.core.identity import Caller, Role
from tidegate.errors import InvalidInput

HEADER = b"tidegate-criticality"
"""By it a client says how much a request matters to him."""


class Work(Enum):
    """Kinds of requests that take about as long as one another. Each kind has a gate of its own."""

    CONTROL = "control"
    """What tells of an overload or ends it: let in at any time."""
    SUBMIT = "submit"
    READ = "read"
    RUN = "run"
    """Runs something in the sandbox and waits for it."""
    STREAM = "stream"
    """Goes on for as long as the client likes, and says nothing about how the server does: waiting for a job, events, uploads
    and downloads."""


class Way(NamedTuple):
    """What a route is, and what it counts for unless the client says otherwise."""

    work: Work
    criticality: Criticality = Criticality.CRITICAL


_CONTROL = Way(Work.CONTROL, Criticality.CONTROL)
_SUBMIT = Way(Work.SUBMIT)
_READ = Way(Work.READ)
_LOOK = Way(Work.READ, Criticality.SHEDDABLE_PLUS)
"""Lists and pictures of the whole, which somebody looks at again in a while."""
_REPORT = Way(Work.SUBMIT, Criticality.SHEDDABLE_PLUS)
"""May as well come later."""
_RUN = Way(Work.RUN)
_PREVIEW = Way(Work.RUN, Criticality.SHEDDABLE_PLUS)
_STREAM = Way(Work.STREAM)

WAYS: Mapping[tuple[str, str], Way] = {
    ("GET", "/health"): _CONTROL,
    ("GET", "/api/v1/health"): _CONTROL,
    ("GET", "/api/v1/health/ready"): _CONTROL,
    ("GET", "/api/v1/health/workers"): _CONTROL,
    ("GET", "/metrics"): _CONTROL,
    ("POST", "/api/v1/jobs"): _SUBMIT,
    ("POST", "/api/v1/jobs/bulk"): _SUBMIT,
    ("POST", "/api/v1/jobs/{job_id}/cancel"): _CONTROL,
    ("GET", "/api/v1/jobs"): _LOOK,
    ("GET", "/api/v1/jobs/{job_id}/events"): _STREAM,
    ("GET", "/api/v1/jobs/{job_id}/result"): _STREAM,
    ("GET", "/api/v1/jobs/{job_id}/logs"): _STREAM,
    ("GET", "/api/v1/jobs/{job_id}/report"): _STREAM,
    ("GET", "/api/v1/jobs/{job_id}/files"): _LOOK,
    ("GET", "/api/v1/jobs/{job_id}/files/{name:path}"): _STREAM,
    ("GET", "/api/v1/sources"): _LOOK,
    ("POST", "/api/v1/sources"): _RUN,
    ("GET", "/api/v1/sources/{name}/preview"): _PREVIEW,
    ("GET", "/api/v1/sources/{name}/download"): _STREAM,
    ("PUT", "/api/v1/files/{name:path}"): _STREAM,
    ("GET", "/api/v1/pressure"): _CONTROL,
    ("GET", "/api/v1/pressure/rules"): _CONTROL,
    ("PUT", "/api/v1/pressure/rules"): _CONTROL,
    ("GET", "/api/v1/pressure/history"): _LOOK,
    ("GET", "/api/v1/queues"): _LOOK,
    ("PUT", "/api/v1/queues/{name}"): _CONTROL,
    ("PATCH", "/api/v1/queues/{name}"): _CONTROL,
    ("POST", "/api/v1/queues/{name}/pause"): _CONTROL,
    ("POST", "/api/v1/queues/{name}/resume"): _CONTROL,
    ("POST", "/api/v1/query"): _RUN,
    ("POST", "/api/v1/ingest/preview"): _PREVIEW,
    ("GET", "/api/v1/workers"): _LOOK,
    ("POST", "/api/v1/workers/{worker_id}/drain"): _CONTROL,
    ("POST", "/api/v1/workers/{worker_id}/resume"): _CONTROL,
    ("POST", "/api/v1/workers/{worker_id}/stop"): _CONTROL,
    ("POST", "/api/v1/monitoring/workers/{worker_id}/control"): _CONTROL,
    ("GET", "/api/v1/alerts/rules"): _LOOK,
    ("GET", "/api/v1/monitoring/gates"): _CONTROL,
    ("DELETE", "/api/v1/keys/{key_id}"): _CONTROL,
    ("PATCH", "/api/v1/alerts/rules/{name}"): _CONTROL,
    ("DELETE", "/api/v1/alerts/rules/{name}"): _CONTROL,
    ("POST", "/api/v1/alerts/silences"): _CONTROL,
    ("DELETE", "/api/v1/alerts/silences/{silence_id}"): _CONTROL,
    ("POST", "/api/v1/alerts/channels/{name}/test"): _STREAM,  # takes as long as the channel likes
    ("POST", "/api/v1/alerts/{alert_id}/acknowledge"): _CONTROL,
    ("GET", "/api/v1/audit"): _LOOK,
    ("GET", "/api/v1/usage"): _LOOK,
    ("GET", "/api/v1/usage/resources"): _LOOK,
    ("POST", "/statistics"): _REPORT,
    ("GET", "/statistics/summary"): _LOOK,
    ("GET", "/"): _LOOK,
    ("GET", "/openapi.json"): _LOOK,
}
"""Of the routes that are more than reading, or matter less. All others are `_READ`."""

_Tree = dict[str, Any]
"""Segments of paths, one below the other."""
_WILD, _END, _REST = "", "/", "//"
"""Keys that no segment is: whatever stands there; the way of the path that ends here; that of all that go on from here."""
_NOWHERE: _Tree = {}


def _tree() -> _Tree:
    root: _Tree = {}
    for (method, path), way in WAYS.items():
        *folders, last = path[1:].split("/")
        node = root.setdefault(method, {})
        for segment in folders:
            node = node.setdefault(_WILD if segment.startswith("{") else segment, {})
        if last.endswith(":path}"):
            node[_REST] = way
        else:
            node.setdefault(_WILD if not last or last.startswith("{") else last, {})[_END] = way
    return root


_TREE = _tree()


def way_of(method: str, path: str, query: bytes) -> Way:
    """The way of a request. One that waits for a job is a stream, whatever its route."""
    way = _found(method, path)
    return _STREAM if way is _READ and b"wait_s=" in query else way


def _found(method: str, path: str) -> Way:
    node: _Tree = _TREE.get(method, {})
    for segment in path[1:].split("/"):
        if (rest := node.get(_REST)) is not None:
            return cast(Way, rest)
        node = (node.get(segment) if segment else None) or node.get(_WILD, _NOWHERE)
    return cast(Way, node.get(_END, _READ))


def criticality_of(way: Way, wanted: str | None, caller: Caller | None) -> Criticality:
    """How much a request matters: as its route says, unless its client said that it matters less, or, when he is an operator,
    more. Raises InvalidInput for a word that is none."""
    if wanted is None or way.criticality is Criticality.CONTROL:
        return way.criticality
    given = _named(wanted)
    trusted = caller is not None and caller.role.may(Role.OPERATOR)
    return given if trusted else min(given, Criticality.CRITICAL)


_BY_WORD = {str(one): one for one in Criticality if one is not Criticality.CONTROL}


def _named(word: str) -> Criticality:
    try:
        return _BY_WORD[word.strip().lower()]
    except KeyError:
        raise InvalidInput(
            f"Tidegate-Criticality: {word!r:.50} is none; there are {', '.join(_BY_WORD)}.",
            numbers={"field": "Tidegate-Criticality"},
        ) from None
