"""A server that loads files, and what is asked of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2

from tests.e2e.server import Running, final


class House:
    """A server that may read and write one folder, and what is asked of it."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.server = Running(
            folder / "data",
            source_roots=json.dumps([str(folder)]),
            target_roots=json.dumps([str(folder)]),
            **settings,
        )
        self.server.start()
        self.http: httpx2.Client = self.server.client()

    def close(self) -> None:
        self.http.close()
        self.server.stop()

    def file(self, name: str, content: str | bytes) -> str:
        path = self.folder / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    def ingest(self, *files: str, **fields: object) -> dict[str, Any]:
        """The job once it has ended."""
        answer = self.http.post("/api/v1/jobs", json={"kind": "ingest", "files": list(files), **fields})
        assert answer.status_code == 202, answer.text
        return final(self.http, answer.json()["job_id"])

    def tasks(self, job: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """Its tasks by their names."""
        items = self.http.get(f"/api/v1/jobs/{job['job_id']}/tasks", params={"limit": 100}).json()["items"]
        return {task["name"]: task for task in items}

    def rows(self, sql: str) -> list[list[Any]]:
        answer = self.http.post("/api/v1/query", json={"sql": sql})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["rows"])
