"""A private RabbitMQ."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence

from tidegate.testing.servers.processes import MissingProgram, program
from tidegate.testing.servers.server import (
    ADDRESS,
    START_DEADLINE_S,
    STOP_DEADLINE_S,
    USER,
    Server,
    free_port,
)


class RabbitMQ(Server):
    """RabbitMQ as a node of its own, with a port mapper of its own: nothing of Erlang is shared with the machine."""

    name = "rabbitmq"
    account = "rabbitmq"

    def __init__(self, *, durable: bool = False) -> None:
        super().__init__(durable=durable)
        self._mapper_port, self._node_port = free_port(), free_port()
        self._mapper: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"amqp://{USER}:{self.password}@{ADDRESS}:{self.port}//"

    def _prepare(self) -> None:
        settings = self.folder / "rabbitmq.conf"
        settings.write_text(
            f"listeners.tcp.1 = {ADDRESS}:{self.port}\ndefault_user = {USER}\ndefault_pass = {self.password}\n"
            "log.console = true\nlog.file = false\nvm_memory_high_watermark.absolute = 512MiB\n"
            "disk_free_limit.absolute = 64MB\n"
        )
        self._own(settings)

    def _environment(self) -> Mapping[str, str]:
        folder = str(self.folder)
        return {
            **super()._environment(),
            "RUNNING_UNDER_SYSTEMD": "1",  # the script becomes the server instead of starting and watching it
            "RABBITMQ_NODENAME": f"tidegate-{self.port}@localhost",
            "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
            "RABBITMQ_CONF_ENV_FILE": f"{folder}/none",
            "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/plugins",
            "RABBITMQ_MNESIA_BASE": f"{folder}/data",
            "RABBITMQ_LOG_BASE": f"{folder}/logs",
            "RABBITMQ_PID_FILE": f"{folder}/pid",
            "RABBITMQ_DIST_PORT": str(self._node_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} -start_epmd false"
                " +sbwt none +sbwtdcpu none +sbwtdio none"  # idle schedulers sleep instead of spinning
            ),
            "ERL_EPMD_PORT": str(self._mapper_port),
            "ERL_EPMD_ADDRESS": ADDRESS,
        }

    def _command(self) -> Sequence[str]:
        script = "/usr/lib/rabbitmq/bin/rabbitmq-server"  # the one on PATH changes users by `su`
        if not os.access(script, os.X_OK):
            raise MissingProgram(
                "rabbitmq-server is not installed. As root: apt-get install -y rabbitmq-server"
            )
        return [script]

    def start(self) -> None:
        if self._mapper is None:
            self._mapper = self._launch([program("epmd", "rabbitmq-server")], self._environment())
        super().start()

    def close(self) -> None:
        super().close()
        if self._mapper is not None:
            self._mapper.kill()
            self._mapper.wait(STOP_DEADLINE_S)
            self._mapper = None

    def _answers(self) -> bool:
        with self._connect() as link:
            link.sendall(b"AMQP\x00\x00\x09\x01")
            link.settimeout(START_DEADLINE_S)
            return link.recv(1) == b"\x01"  # a method frame: it begins to talk
