"""Whether this container lives: its server answers /health, or where none listens, its worker shows its metrics.

Needs nothing but Python, so that to ask costs little.
"""

import http.client
import os
import sys

WITHIN_S = 8.0
PLACES = (
    (os.environ.get("TIDEGATE_PORT", "8420"), "/health"),
    (os.environ.get("METRICS_PORT", ""), "/metrics"),
)


def answers(port: str, path: str) -> bool | None:
    """None where nobody listens."""
    connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=WITHIN_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == 200
    except ConnectionRefusedError:
        return None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


found = (answers(port, path) for port, path in PLACES if port)
sys.exit(not next((answer for answer in found if answer is not None), False))
