"""A private Prometheus for tests: the real program, which scrapes what it is told to, once a second."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tidegate.testing.servers.processes import ServerFailed, program
from tidegate.testing.servers.server import Server


class Prometheus(Server):
    """`targets` by the name of their job, such as `{"tidegate": ["127.0.0.1:8420"]}`; `rules` are files of rules."""

    name = "prometheus"
    account = "prometheus"

    def __init__(self, targets: Mapping[str, Sequence[str]], rules: Sequence[Path] = ()) -> None:
        super().__init__()
        self._targets = targets
        self._rules = rules

    @property
    def url(self) -> str:
        return f"http://{self.listen}:{self.port}"

    def query(self, query: str) -> list[dict[str, Any]]:
        """What an instant query finds now: each with `metric`, its labels, and `value`. Raises ServerFailed."""
        found: list[dict[str, Any]] = self._ask("query", query=query)["result"]
        return found

    def targets(self) -> dict[str, str]:
        """How the scrapes go: `up`, `down` or `unknown`, by URL."""
        return {one["scrapeUrl"]: one["health"] for one in self._ask("targets")["activeTargets"]}

    def alerts(self) -> dict[str, str]:
        """State of each alert rule, by name: `inactive`, `pending`, `firing`."""
        groups = self._ask("rules", type="alert")["groups"]
        return {rule["name"]: rule["state"] for group in groups for rule in group["rules"]}

    def _ask(self, what: str, **parameters: str) -> Any:
        status, body = self._get(f"/api/v1/{what}?{urlencode(parameters)}", 10.0)
        if status != HTTPStatus.OK:
            raise ServerFailed(f"Prometheus refused {parameters}: {body.decode()}")
        return json.loads(body)["data"]

    def _get(self, path: str, within_s: float) -> tuple[int, bytes]:
        connection = HTTPConnection(self.listen, self.port, timeout=within_s)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def _prepare(self) -> None:
        copies = []
        for rules in self._rules:
            copy = self.folder / rules.name
            copy.write_bytes(rules.read_bytes())
            self._own(copy)
            copies.append(str(copy))
        jobs = [
            {"job_name": name, "static_configs": [{"targets": list(addresses)}]}
            for name, addresses in self._targets.items()
        ]
        every = {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
        config = self.folder / "prometheus.yml"  # JSON is YAML
        config.write_text(json.dumps({"global": every, "rule_files": copies, "scrape_configs": jobs}))
        self._own(config)

    def _command(self) -> Sequence[str]:
        return [
            program("prometheus", "prometheus"),
            f"--config.file={self.folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address={self.listen}:{self.port}",
            "--log.level=warn",
        ]

    def _answers(self) -> bool:
        return self._get("/-/ready", 1.0)[0] == HTTPStatus.OK
