"""The workers of a server or a cluster."""

from __future__ import annotations

from tidegate.client.call import Call
from tidegate.client.calls.parts import API, as_document, read, read_page, segment
from tidegate.client.shapes import Document, Page


def _worker(worker_id: str) -> str:
    return f"{API}/workers/{segment(worker_id)}"


def page(*, limit: int | None = None, cursor: str | None = None) -> Call[Page]:
    """A page of workers."""
    return read_page(f"{API}/workers", limit=limit, cursor=cursor)


def get(worker_id: str) -> Call[Document]:
    """A worker: what it offers, what runs there, how it is."""
    return read(_worker(worker_id))


def tell(worker_id: str, verb: str) -> Call[Document]:
    """`drain`, `resume` or `stop` a worker."""
    return Call("POST", f"{_worker(worker_id)}/{verb}", as_document, repeatable=True)
