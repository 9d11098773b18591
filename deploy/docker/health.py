"""Whether this container lives: the server answers /health, or the worker its metrics. Needs nothing but Python."""

import http.client
import os
import sys

WITHIN_S = 8.0
PLACES = (
    (os.environ.get("TIDEGATE_PORT", "8420"), "/health"),
    (os.environ.get("METRICS_PORT", ""), "/metrics"),
)


def answers(port: str, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=WITHIN_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


sys.exit(not any(answers(port, path) for port, path in PLACES if port))
