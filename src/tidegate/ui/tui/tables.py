"""What a picture shows as tables: running and waiting jobs, workers, queues, health with alerts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tidegate.client.shapes import Document, instant
from tidegate.core.resources import format_bytes
from tidegate.ui.tui.cells import (
    NOTHING,
    Cell,
    Glyphs,
    Span,
    Tone,
    bar,
    cell,
    load_tone,
    of_bytes,
    percent,
    span_of_time,
)
from tidegate.ui.tui.columns import Column, Row, Table
from tidegate.ui.tui.picture import NORMAL, Picture

_PROGRESS_CELLS = 10
_ALLOCATED_CELLS = 6
_CLOSE = 0.9
_STATE_TONES: Mapping[str, Tone] = {
    "online": "good",
    "draining": "warn",
    "silent": "bad",
    "left": "dim",
    "paused": "warn",
    "warn": "warn",
    "warning": "warn",
    "critical": "bad",
    "severe": "bad",
    "emergency": "bad",
    "danger": "bad",
}
_LEVELS = ("danger", "severe", "warning", "info")

_JOB = Column("Job", right=True)
_NAME = Column("Name", least=16)
_OWNER = Column("Owner", least=8, spare=4)
_QUEUE = Column("Queue", least=7, spare=3)
_KIND = Column("Kind", spare=5)


def state(word: str) -> Cell:
    """A word that says how something is."""
    return cell(word, _STATE_TONES.get(word, "plain"))


def running(picture: Picture, glyphs: Glyphs) -> Table:
    """Jobs that run: how far they are, and what they have used of what they may."""
    columns = (
        _JOB,
        _NAME,
        _KIND,
        _OWNER,
        _QUEUE,
        Column("Progress", descending=True),
        Column("Tasks", right=True, spare=6),
        Column("CPUs", right=True, spare=2, descending=True),
        Column("Memory, peak", right=True, descending=True),
        Column("Runs", right=True, descending=True),
    )
    rows = [_running_row(picture, job, glyphs) for job in picture.items("running")]
    return _jobs_table(picture, "running", "Running", columns, rows, "Nothing runs.")


def _running_row(picture: Picture, job: Document, glyphs: Glyphs) -> Row:
    asked, peak, ran_s = job["request"], job["usage"]["peak_memory_bytes"], picture.age_s(job["started_at"])
    tasks = job["tasks"]
    done, total = sum(count for name, count in tasks.items() if name in _ENDED), sum(tasks.values())
    return Row(
        job["job_id"],
        (
            *_names(job),
            _progress(job, glyphs),
            cell(f"{done}/{total}" if total > 1 else None),
            cell(f"{asked['cpus']:g}"),
            _memory(peak, asked["memory_bytes"]),
            cell(None if ran_s is None else span_of_time(ran_s)),
        ),
        (*_order(job), job["progress"], total, asked["cpus"], peak, ran_s),
        job,
    )


_ENDED = ("succeeded", "failed", "cancelled")


def _names(job: Document) -> tuple[Cell, ...]:
    return (
        cell(job["job_id"], "strong"),
        cell(job["name"]),
        cell(job["kind"], "dim"),
        cell(job.get("owner")),
        cell(job["queue"]),
    )


def _order(job: Document) -> tuple[Any, ...]:
    return (int(job["job_id"]), job["name"], job["kind"], job.get("owner"), job["queue"])


def _progress(job: Document, glyphs: Glyphs) -> Cell:
    if job.get("cancel_requested_at"):
        return (Span("is being ended", "warn"),)
    share = job["progress"]
    if share is None:
        return NOTHING
    return (*bar(share, _PROGRESS_CELLS, glyphs), Span(f" {percent(share):>5}"))


def _memory(peak_bytes: int | None, limit_bytes: int) -> Cell:
    """What was used against the limit. Close to it, it stands out: the job may end there. Queries plan with 0.85 of theirs."""
    if not peak_bytes:
        return (Span(f"- of {format_bytes(limit_bytes)}", "dim"),)
    close = bool(limit_bytes) and peak_bytes / limit_bytes >= _CLOSE
    return (Span(of_bytes(peak_bytes, limit_bytes), "warn" if close else "plain"),)


def waiting(picture: Picture, glyphs: Glyphs) -> Table:
    """Jobs that wait: where in their queue, why, and when they may start."""
    columns = (
        _JOB,
        _NAME,
        _KIND,
        _OWNER,
        _QUEUE,
        Column("Priority", spare=7),
        Column("Place", right=True),
        Column("Asks for", spare=6),
        Column("Starts", right=True, spare=1),
        Column("Waits", right=True, descending=True),
        Column("Why", least=24),
    )
    rows = sorted((_waiting_row(picture, job) for job in picture.items("waiting")), key=_next_first)
    return _jobs_table(picture, "waiting", "Waiting", columns, rows, "Nothing waits.")


def _next_first(row: Row) -> tuple[bool, int, int]:
    place = row.order[6]
    return place is None, place or 0, row.order[0]


def _waiting_row(picture: Picture, job: Document) -> Row:
    told = job["waiting"] or {}
    starts_at, waits_s = instant(told.get("expected_start_at")), picture.age_s(job["created_at"])
    starts_s = None if starts_at is None else max((starts_at - picture.taken_at).total_seconds(), 0.0)
    asked = job["request"]
    return Row(
        job["job_id"],
        (
            *_names(job),
            cell(job["priority"], "accent" if job["priority"] == "high" else "dim"),
            cell(told.get("position")),
            cell(f"{asked['cpus']:g} CPU, {format_bytes(asked['memory_bytes'])}"),
            cell(None if starts_s is None else f"in {span_of_time(starts_s)}"),
            cell(None if waits_s is None else span_of_time(waits_s)),
            cell(why(job), "dim"),
        ),
        (
            *_order(job),
            ("high", "normal", "low").index(job["priority"]),
            told.get("position"),
            asked["memory_bytes"],
            starts_s,
            waits_s,
            told.get("code"),
        ),
        job,
    )


def why(job: Document) -> str | None:
    """Why a job waits, without what stands beside it: which one, and that it waits."""
    sentence = str((job.get("waiting") or {}).get("sentence") or "")
    return sentence.removeprefix(f"Job {job['job_id']} ").removeprefix("waits ") or None


def _jobs_table(
    picture: Picture, part: str, title: str, columns: tuple[Column, ...], rows: list[Row], empty: str
) -> Table:
    more = part in picture.parts and picture.parts[part].more
    count = f"the {len(rows)} oldest of more" if more else str(len(rows))
    return Table(title, columns, rows, count, picture.missing.get(part, empty))


def workers(picture: Picture, glyphs: Glyphs) -> Table:
    """Machines: what of them is allocated, and what they feel."""
    columns = (
        Column("Worker", least=8),
        Column("State"),
        Column("Run", right=True, descending=True),
        Column("CPUs allocated", descending=True),
        Column("Memory allocated", descending=True),
        Column("CPU busy", right=True, spare=2, descending=True),
        Column("Memory used", right=True, spare=2, descending=True),
        Column("Pressure", spare=3),
        Column("Beat", right=True, spare=1, descending=True),
    )
    readings = picture.readings_of_workers
    found = picture.items("workers")
    rows = [_worker_row(picture, one, readings.get(one["worker_id"], {}), glyphs) for one in found]
    here = sum(worker["status"] in ("online", "draining") for worker in found)
    note = f"{here} of {len(found)} online" if found else ""
    return Table(
        "Workers", columns, rows, note, picture.missing.get("workers", "There is no worker: jobs wait.")
    )


def _worker_row(picture: Picture, worker: Document, told: Document, glyphs: Glyphs) -> Row:
    taken, room = worker["allocated"], worker["allocatable"]
    felt = told.get("readings", {})
    busy, used = _share(felt, "cpu_busy_percent"), _share(felt, "memory_used_percent")
    level, beat_s = told.get("level"), picture.age_s(worker["beat_at"])
    cpu_share = taken["cpus"] / room["cpus"] if room["cpus"] else 0.0
    memory_share = taken["memory_bytes"] / room["memory_bytes"] if room["memory_bytes"] else 0.0
    return Row(
        worker["worker_id"],
        (
            cell(worker["worker_id"], "strong"),
            state(worker["status"]),
            cell(len(worker["running"])),
            (*bar(cpu_share, _ALLOCATED_CELLS, glyphs), Span(f" {taken['cpus']:g} of {room['cpus']:g}")),
            (
                *bar(memory_share, _ALLOCATED_CELLS, glyphs),
                Span(f" {of_bytes(taken['memory_bytes'], room['memory_bytes'])}"),
            ),
            cell(None if busy is None else percent(busy)),
            _load(used),
            cell(level, _STATE_TONES.get(str(level), "dim")),
            cell(None if beat_s is None else span_of_time(beat_s)),
        ),
        (
            worker["worker_id"],
            worker["status"],
            len(worker["running"]),
            cpu_share,
            memory_share,
            busy,
            used,
            level,
            beat_s,
        ),
        worker,
    )


def _share(readings: Document, name: str) -> float | None:
    told = readings.get(name)
    return None if told is None else float(told) / 100.0


def _load(share: float | None) -> Cell:
    if share is None:
        return NOTHING
    tone = load_tone(share)
    return (Span(percent(share), "plain" if tone == "accent" else tone),)


def queues(picture: Picture, glyphs: Glyphs) -> Table:
    """Queues: how many wait and run, and how many may."""
    columns = (
        Column("Queue", least=8),
        Column("State"),
        Column("Wait", right=True, descending=True),
        Column("Run", right=True, descending=True),
        Column("Cap", right=True),
        Column("Weight", right=True, spare=1, descending=True),
    )
    found = picture.items("queues")
    paused = sum(queue["paused"] for queue in found)
    note = f"{paused} of {len(found)} paused" if paused else str(len(found))
    rows = [_queue_row(queue) for queue in found]
    return Table("Queues", columns, rows, note, picture.missing.get("queues", "There is no queue yet."))


def _queue_row(queue: Document) -> Row:
    cap, word = queue["max_concurrent"], "paused" if queue["paused"] else "open"
    full = cap is not None and queue["running"] >= cap
    cells = (
        cell(queue["name"], "strong"),
        state(word),
        cell(queue["waiting"]),
        cell(queue["running"]),
        cell("none" if cap is None else cap, "accent" if full else "dim"),
        cell(queue["weight"], "dim"),
    )
    order = (queue["name"], word, queue["waiting"], queue["running"], cap, queue["weight"])
    return Row(queue["name"], cells, order, queue)


def health(picture: Picture, glyphs: Glyphs) -> Table:
    """Alerts that have not ended, the worst first, then checks that fail; those that pass stand in one row."""
    columns = (
        Column("State"),
        Column("What", least=12),
        Column("Since", right=True, spare=1, descending=True),
        Column("Message", least=20),
    )
    alerts = sorted(picture.items("alerts"), key=lambda alert: _LEVELS.index(alert["level"]))
    checks = picture.checks()
    failing = {name: wrong for name, wrong in checks.items() if wrong is not None}
    passing = [name for name in checks if name not in failing]
    rows = [_mode_row(picture)] if picture.mode not in (None, NORMAL) else []
    rows += [_alert_row(picture, alert) for alert in alerts]
    rows += [_failing_row(name, wrong, glyphs) for name, wrong in failing.items()]
    rows += [_passing_row(passing, glyphs)] if passing else []
    told = picture.missing.get("alerts") or _count(len(alerts), "alert")
    note = f"{told}, {_count(len(failing), 'failing check')}"
    trouble = len(rows) - bool(passing)
    return Table(
        "Health and alerts", columns, rows, note, "This server tells nothing of its health.", trouble
    )


def _mode_row(picture: Picture) -> Row:
    told = picture.part("mode")
    since_s = picture.age_s(told.get("since"))
    cells = (
        cell(picture.mode, "bad"),
        cell("mode"),
        cell(None if since_s is None else span_of_time(since_s)),
        cell(told.get("message")),
    )
    return Row("mode", cells, (picture.mode, "mode", since_s, None))


def _alert_row(picture: Picture, alert: Document) -> Row:
    since_s = picture.age_s(alert["raised_at"])
    seen = " (seen)" if alert["state"] == "acknowledged" else ""
    silent = " (silenced)" if alert["silenced"] else ""
    cells = (
        (
            Span(
                f"{alert['level']}{seen}{silent}",
                "dim" if seen else _STATE_TONES.get(alert["level"], "plain"),
            ),
        ),
        cell(" ".join(filter(None, (alert["rule"], alert["subject"])))),
        cell(None if since_s is None else span_of_time(since_s)),
        cell(alert["message"]),
    )
    return Row(f"alert {alert['alert_id']}", cells, (alert["level"], alert["rule"], since_s, None), alert)


def _failing_row(name: str, wrong: str, glyphs: Glyphs) -> Row:
    what = name.replace("_", " ")
    told = (Span(f"{glyphs.fault} fails", "bad"),)
    return Row(f"check {name}", (told, cell(what), (), cell(wrong)), ("fails", what, None, wrong))


def _passing_row(names: Sequence[str], glyphs: Glyphs) -> Row:
    told = (Span(glyphs.ok, "good"), Span(" ok"))
    what = _count(len(names), "check")
    message = ", ".join(name.replace("_", " ") for name in names)
    return Row("checks", (told, cell(what, "dim"), (), cell(message, "dim")), ("ok", what, None, message))


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


TABLES: Mapping[str, Callable[[Picture, Glyphs], Table]] = {
    "running": running,
    "waiting": waiting,
    "workers": workers,
    "queues": queues,
    "health": health,
}
"""What each pane shows."""
