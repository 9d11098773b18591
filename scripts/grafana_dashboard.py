"""Writes deploy/grafana/dashboards/tidegate.json from the panels below. Change them here, not there.

`$job` in a query is the name of Prometheus's job or jobs, chosen at the top of the dashboard.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

FILE = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards" / "tidegate.json"
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_WIDTH = 24
_RATE = "$__rate_interval"


class Panel(NamedTuple):
    """A picture: its queries with their legends. `kind` is a type of Grafana's panels."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    help: str = ""
    stacked: bool = False
    bad_from: float | None = None
    """From this value on the number is red."""


def _rate(name: str, by: str, where: str = "") -> str:
    return f'sum by ({by}) (rate({name}{{job=~"$job"{where}}}[{_RATE}]))'


def _quantile(share: float, name: str, by: str = "") -> str:
    return f"histogram_quantile({share}, {_rate(f'{name}_bucket', f'le{by}')})"


def _max(name: str, by: str = "", where: str = "") -> str:
    return f'max by ({by}) ({name}{{job=~"$job"{where}}})' if by else f'max({name}{{job=~"$job"{where}}})'


def _number(
    title: str, query: str, bad_from: float | None = None, unit: str = "short", help: str = ""
) -> Panel:
    return Panel(title, [(query, "")], unit, "stat", 3, 4, help, bad_from=bad_from)


_HITS = _rate("tidegate_kept_results_total", "kind", ',outcome="hit"')
_FINDS = _rate("tidegate_kept_results_total", "kind")

ROWS: Sequence[tuple[str, Sequence[Panel]]] = (
    (
        "Now",
        (
            _number("Jobs running", _max("sql_linting_active_jobs")),
            _number("Tasks waiting", f"sum({_max('tidegate_queue_waiting_tasks', 'queue')})", 1000),
            _number("Oldest wait", _max("tidegate_queue_oldest_wait_seconds") + " or vector(0)", 600, "s"),
            _number("Workers online", _max("tidegate_workers", where=',state="online"')),
            _number(
                "Level of pressure",
                _max("tidegate_pressure_level"),
                2,
                help="0 normal, 1 warn, 2 critical, 3 emergency.",
            ),
            _number(
                "Alerts",
                f"sum({_max('tidegate_alerts', 'rule, level')}) or vector(0)",
                1,
                help="Tidegate's own: docs/alerts.md.",
            ),
            _number("Safe mode", _max("tidegate_safe_mode"), 1),
            _number("Leaders", 'sum(tidegate_leader{job=~"$job"})', 2, help="1 is as it should be."),
        ),
    ),
    (
        "Work",
        (
            Panel(
                "Jobs ended", [(_rate("sql_linting_jobs_total", "status"), "{{status}}")], "ops", stacked=True
            ),
            Panel(
                "Attempts ended, by reason",
                [(_rate("tidegate_attempts_total", "reason"), "{{reason}}")],
                "ops",
                stacked=True,
            ),
            Panel(
                "Jobs accepted, by kind",
                [(_rate("tidegate_jobs_accepted_total", "kind"), "{{kind}}")],
                "ops",
                stacked=True,
            ),
            Panel(
                "How long attempts run, median and 95 %",
                [
                    (_quantile(0.5, "tidegate_attempt_duration_seconds", ", kind"), "{{kind}} median"),
                    (_quantile(0.95, "tidegate_attempt_duration_seconds", ", kind"), "{{kind}} 95 %"),
                ],
                "s",
            ),
            Panel(
                "CPU that ended attempts have used, by kind",
                [(_rate("tidegate_attempt_cpu_seconds_total", "kind"), "{{kind}}")],
                help="In CPUs: seconds of CPU a second.",
            ),
            Panel("Results that were known already", [(f"{_HITS} / {_FINDS}", "{{kind}}")], "percentunit"),
        ),
    ),
    (
        "Queues",
        (
            Panel("Tasks waiting", [(_max("tidegate_queue_waiting_tasks", "queue"), "{{queue}}")]),
            Panel("Oldest wait", [(_max("tidegate_queue_oldest_wait_seconds", "queue"), "{{queue}}")], "s"),
            Panel(
                "Tasks running", [(_max("tidegate_queue_running_tasks", "queue"), "{{queue}}")], stacked=True
            ),
            Panel("Starts", [(_rate("tidegate_starts_total", "queue"), "{{queue}}")], "ops"),
            Panel(
                "Jobs ended, by queue",
                [(_rate("tidegate_jobs_total", "queue, status"), "{{queue}} {{status}}")],
                "ops",
            ),
            Panel("Paused", [(_max("tidegate_queue_paused", "queue"), "{{queue}}")]),
        ),
    ),
    (
        "Workers",
        (
            Panel(
                "CPUs allocated, of all that are offered",
                [
                    (_max("tidegate_worker_allocated_cpus", "worker"), "{{worker}}"),
                    (f"sum({_max('tidegate_worker_allocatable_cpus', 'worker')})", "offered by all"),
                ],
            ),
            Panel(
                "Memory allocated, of all that is offered",
                [
                    (_max("tidegate_worker_allocated_memory_bytes", "worker"), "{{worker}}"),
                    (f"sum({_max('tidegate_worker_allocatable_memory_bytes', 'worker')})", "offered by all"),
                ],
                "bytes",
            ),
            Panel(
                "Memory that running attempts use",
                [('sum by (instance) (tidegate_attempts_memory_bytes{job=~"$job"})', "{{instance}}")],
                "bytes",
                stacked=True,
            ),
            Panel(
                "Attempts running",
                [(_max("tidegate_worker_running_attempts", "worker"), "{{worker}}")],
                stacked=True,
            ),
            Panel(
                "Since the last beat", [(_max("tidegate_worker_silent_seconds", "worker"), "{{worker}}")], "s"
            ),
            Panel(
                "Zygotes and keepers",
                [
                    ('sum(tidegate_zygotes{job=~"$job"})', "zygotes"),
                    ('sum(tidegate_keepers{job=~"$job"})', "keepers"),
                    ('sum(tidegate_attempts_running{job=~"$job"})', "sandboxes in use"),
                ],
            ),
        ),
    ),
    (
        "Pressure",
        (
            Panel(
                "Level",
                [
                    (_max("tidegate_pressure_level", "instance, dial"), "{{instance}} {{dial}}"),
                    (_max("tidegate_worker_pressure_level", "worker"), "worker {{worker}}"),
                ],
            ),
            Panel(
                "In use",
                [
                    (_max("tidegate_pressure_memory_used_ratio", "instance"), "memory {{instance}}"),
                    (_max("tidegate_pressure_cpu_busy_ratio", "instance"), "CPU {{instance}}"),
                ],
                "percentunit",
            ),
            Panel(
                "Disk free",
                [('min by (instance) (tidegate_pressure_disk_free_ratio{job=~"$job"})', "{{instance}}")],
                "percentunit",
            ),
            Panel(
                "Database and event loop",
                [
                    (
                        _max("tidegate_pressure_database_answer_seconds", "instance"),
                        "database, 95 % {{instance}}",
                    ),
                    (_max("tidegate_pressure_loop_lag_seconds", "instance"), "loop {{instance}}"),
                ],
                "s",
            ),
            Panel(
                "Bytes read and written",
                [
                    (_max("tidegate_pressure_read_bytes_per_second", "instance"), "read {{instance}}"),
                    (_max("tidegate_pressure_written_bytes_per_second", "instance"), "written {{instance}}"),
                ],
                "Bps",
            ),
            Panel(
                "Connections to the database",
                [
                    (
                        'sum by (instance, state) (tidegate_store_connections{job=~"$job"})',
                        "{{instance}} {{state}}",
                    )
                ],
            ),
        ),
    ),
    (
        "API",
        (
            Panel(
                "Requests",
                [(_rate("tidegate_http_requests_total", "work, status"), "{{work}} {{status}}")],
                "reqps",
            ),
            Panel(
                "How long requests take, 99 %",
                [(_quantile(0.99, "sql_linting_request_duration_seconds", ", work"), "{{work}}")],
                "s",
            ),
            Panel(
                "Requests shed, and jobs not taken",
                [
                    (_rate("tidegate_http_requests_shed_total", "work"), "shed {{work}}"),
                    (_rate("tidegate_submissions_refused_total", "code"), "not taken: {{code}}"),
                ],
                "reqps",
            ),
            Panel(
                "Under way, and how many may be",
                [
                    (
                        'sum by (work) (tidegate_http_requests_under_way{job=~"$job",work!="stream"})',
                        "{{work}}",
                    ),
                    (
                        'sum by (work) (tidegate_http_requests_limit{job=~"$job",work!="stream"})',
                        "limit {{work}}",
                    ),
                ],
            ),
            Panel(
                "Streams", [('sum(tidegate_http_requests_under_way{job=~"$job",work="stream"})', "under way")]
            ),
            Panel(
                "Waiting before a gate",
                [('sum by (work) (tidegate_http_requests_waiting{job=~"$job"})', "{{work}}")],
            ),
        ),
    ),
    (
        "Parts and processes",
        (
            Panel(
                "A pass of the scheduler, median and 99 %",
                [
                    (_quantile(0.5, "tidegate_cycle_pass_seconds"), "median"),
                    (_quantile(0.99, "tidegate_cycle_pass_seconds"), "99 %"),
                ],
                "s",
            ),
            Panel(
                "Parts that are down, and crashes",
                [
                    ('count by (part) (tidegate_part_up{job=~"$job"} == 0) or vector(0)', "down {{part}}"),
                    (
                        'sum by (part) (increase(tidegate_crashes_total{job=~"$job"}[10m])) or vector(0)',
                        "crashed {{part}}",
                    ),
                ],
            ),
            Panel(
                "Threads at work, and calls that wait",
                [
                    ('sum by (executor) (tidegate_executor_active{job=~"$job"})', "{{executor}}"),
                    ('sum by (executor) (tidegate_executor_queued{job=~"$job"})', "{{executor}} waits"),
                ],
            ),
            Panel(
                "Resident memory",
                [(_max("process_resident_memory_bytes", "instance, process"), "{{instance}} {{process}}")],
                "bytes",
            ),
            Panel(
                "CPU", [(_rate("process_cpu_seconds_total", "instance, process"), "{{instance}} {{process}}")]
            ),
            Panel(
                "Descriptors and threads",
                [
                    (_max("process_open_fds", "instance, process"), "descriptors {{instance}} {{process}}"),
                    (_max("process_threads", "instance, process"), "threads {{instance}} {{process}}"),
                ],
            ),
        ),
    ),
)


def queries() -> list[str]:
    """All queries of the dashboard."""
    return [query for _, panels in ROWS for panel in panels for query, _ in panel.queries]


def dashboard() -> dict[str, Any]:
    """As Grafana reads it."""
    return {
        "uid": "tidegate",
        "title": "Tidegate",
        "tags": ["tidegate"],
        "timezone": "browser",
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {"list": _variables()},
        "annotations": {"list": []},
        "links": [],
        "panels": list(_panels()),
    }


def _variables() -> list[dict[str, Any]]:
    return [
        {
            "name": "datasource",
            "label": "Prometheus",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
        },
        {
            "name": "job",
            "label": "Job",
            "type": "query",
            "datasource": _SOURCE,
            "query": {"query": "label_values(tidegate_build_info, job)", "refId": "job"},
            "definition": "label_values(tidegate_build_info, job)",
            "refresh": 2,
            "multi": True,
            "includeAll": True,
            "allValue": ".+",
            "current": {"text": ["All"], "value": ["$__all"]},
        },
    ]


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for title, panels in ROWS:
        number += 1
        yield {
            "id": number,
            "type": "row",
            "title": title,
            "collapsed": False,
            "panels": [],
            "gridPos": _at(0, y, _WIDTH, 1),
        }
        x, y = 0, y + 1
        for panel in panels:
            if x + panel.width > _WIDTH:
                x, y = 0, y + panel.height
            number += 1
            yield _panel(number, panel, _at(x, y, panel.width, panel.height))
            x += panel.width
        y += panels[-1].height


def _at(x: int, y: int, width: int, height: int) -> dict[str, int]:
    return {"x": x, "y": y, "w": width, "h": height}


def _panel(number: int, panel: Panel, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.bad_from is not None:
        steps.append({"color": "red", "value": panel.bad_from})
    custom = {
        "fillOpacity": 20 if panel.stacked else 0,
        "stacking": {"mode": "normal" if panel.stacked else "none"},
    }
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": _SOURCE,
                "expr": query,
                "legendFormat": legend,
                "range": True,
            }
            for at, (query, legend) in enumerate(panel.queries)
        ],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "min": 0,
                "thresholds": {"mode": "absolute", "steps": steps},
                **({"custom": custom} if panel.kind == "timeseries" else {}),
            },
            "overrides": [],
        },
        "options": (
            {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
            if panel.kind == "stat"
            else {
                "legend": {"displayMode": "list", "placement": "bottom"},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        ),
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), "utf-8")
