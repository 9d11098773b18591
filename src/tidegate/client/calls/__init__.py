"""What can be asked of a server, as values: nothing here talks to a network.

One module for each resource. Its functions return a `Call`; a connection sends it and hands the answer to `Call.parse`.
Both faces share all of this.
"""

from tidegate.client.calls import (
    alerts,
    files,
    health,
    jobs,
    keys,
    output,
    pressure,
    queues,
    recovery,
    sources,
    usage,
    workers,
)

__all__ = [
    "alerts",
    "files",
    "health",
    "jobs",
    "keys",
    "output",
    "pressure",
    "queues",
    "recovery",
    "sources",
    "usage",
    "workers",
]
