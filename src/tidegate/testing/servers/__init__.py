"""Private PostgreSQL, MariaDB, Redis, RabbitMQ and Prometheus for tests: the real programs, on free ports of loopback, in
folders of their own.

    with Redis() as redis:
        connect(redis.url)
        redis.kill()      # SIGKILL, to all its processes
        redis.start()     # again on the same port and data

Nothing of the machine's own services is used or touched. Each server ends when its `with` block or its program does, also
when that is killed. The programs are those of Debian's packages, found on PATH and where Debian keeps them.
"""

from tidegate.testing.servers.mariadb import MariaDB
from tidegate.testing.servers.postgresql import PostgreSQL
from tidegate.testing.servers.processes import MissingProgram, ServerFailed, program
from tidegate.testing.servers.prometheus import Prometheus
from tidegate.testing.servers.rabbitmq import RabbitMQ
from tidegate.testing.servers.redis import Redis
from tidegate.testing.servers.server import Server, free_port
from tidegate.testing.servers.sql_server import SqlServer

__all__ = [
    "MariaDB",
    "MissingProgram",
    "PostgreSQL",
    "Prometheus",
    "RabbitMQ",
    "Redis",
    "Server",
    "ServerFailed",
    "SqlServer",
    "free_port",
    "program",
]
