"""How the server and its machine are."""

from __future__ import annotations

from tidegate.client.call import Call, Reply
from tidegate.client.calls.parts import API, as_document, read
from tidegate.client.problems import error_from_reply
from tidegate.client.shapes import Document


def live() -> Call[Document]:
    """Whether the server lives."""
    return read("/health", read_timeout_s=3.0)


def ready() -> Call[Document]:
    """Whether the server can work: `checks` by name, null or what is wrong."""
    return _checks(f"{API}/health/ready")


def workers() -> Call[Document]:
    """Whether jobs get done: `checks` by name, each with `status` and `message`."""
    return _checks(f"{API}/health/workers")


def _checks(path: str) -> Call[Document]:
    """Checks that fail are an answer, with status 503; a 503 without checks is none."""

    def parse(reply: Reply) -> Document:
        answer = as_document(reply)
        if "checks" not in answer:
            raise error_from_reply(reply.status, reply.headers, reply.content)
        return answer

    return Call("GET", path, parse, repeatable=True, also=frozenset({503}))


def system() -> Call[Document]:
    """CPU, memory and disk of the server's machine, and its process."""
    return read(f"{API}/monitoring/system")
