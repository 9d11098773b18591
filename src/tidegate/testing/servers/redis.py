"""A private Redis."""

from __future__ import annotations

from collections.abc import Sequence

from tidegate.testing.servers.processes import ServerFailed, program
from tidegate.testing.servers.server import ADDRESS, Server


class Redis(Server):
    """Redis in memory; with `durable` every write is in its append-only file before it is confirmed."""

    name = "redis"
    account = "redis"

    @property
    def url(self) -> str:
        return f"redis://:{self.password}@{ADDRESS}:{self.port}/0"

    def _prepare(self) -> None:
        keep = "appendonly yes\nappendfsync always\n" if self.durable else "appendonly no\n"
        path = self.folder / "redis.conf"
        path.write_text(
            f"bind {self.listen}\nport {self.port}\ndir {self.folder}\nrequirepass {self.password}\n"
            f'save ""\n{keep}daemonize no\n'
        )
        self._own(path)

    def _command(self) -> Sequence[str]:
        return [program("redis-server", "redis-server"), str(self.folder / "redis.conf")]

    def _answers(self) -> bool:
        return self.ask("PING") == "+PONG"

    def ask(self, *words: str, database: int = 0) -> str:
        """One command; the first line of the answer as the protocol has it, such as `+OK`."""
        answer = b""
        with self._connect() as link:
            for command in (("AUTH", self.password), ("SELECT", str(database)), words):
                parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command)
                link.sendall(f"*{len(command)}\r\n{parts}".encode())
                answer = link.makefile("rb").readline()
        return answer.decode().strip()

    def flush(self) -> None:
        """FLUSHALL: it forgets everything."""
        if self.ask("FLUSHALL") != "+OK":
            raise ServerFailed("redis did not forget everything.")
