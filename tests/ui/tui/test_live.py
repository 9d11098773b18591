"""The live view against a real server with real jobs: what it shows, what its keys do, and what happens without a server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import tidegate
from tests.e2e.server import Running
from tests.ui.test_commands import run
from tests.ui.tui.driving import NARROW, Driver, drive
from tidegate.ui.tui.cells import ASCII

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("live_view")]

PRINTS = ["sh", "-c", "for i in $(seq 30); do echo line $i; done; echo 'and \x1b[31mred'; sleep 600"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server on which one job runs and three wait in a queue that is paused."""
    server = Running(tmp_path_factory.mktemp("data"), enable_commands=1, grace_s=0.2)
    server.start()
    with tidegate.connect(server.url) as client:
        client.queues.pause("default")
        busy = client.submit(
            "command", argv=PRINTS, name="the busy one", queue="busy", cpus=0.1, memory="64MiB", disk="16MiB"
        )
        for name in ("rain in Rome", "sun in Oslo", "fog [b]in[/b] Bern"):
            client.sql("select 1", name=name, memory="64MiB", disk="16MiB")
        next(event for event in busy.events() if event.type == "started")
    yield server
    server.stop()


def test_a_wide_terminal_shows_everything_at_once(running: Running):
    async def watch(driver: Driver) -> None:
        screen = await driver.sees("the busy one", "rain in Rome", "1 of 1 online", "1 of 2 paused")
        assert running.url in screen
        assert "mode normal" in screen
        assert "because queue 'default' is paused." in screen
        assert "fog [b]in[/b] Bern" in screen
        assert "healthy  ·  no alerts" in screen
        assert all(name in screen for name in ("CPU  ", "Memory  ", "Disk  ", "load "))

    drive(watch, url=running.url)


def test_a_narrow_terminal_shows_one_table_at_a_time(running: Running):
    async def watch(driver: Driver) -> None:
        screen = await driver.sees("the busy one")
        assert "1 Running 1   2 Waiting 3   3 Workers 1   4 Queues 2   5 Health 0" in screen
        assert "rain in Rome" not in screen
        await driver.press("2")
        assert "the busy one" not in await driver.sees("rain in Rome", "Why")
        await driver.press("tab")
        await driver.sees("CPUs allocated", "online")
        await driver.press("shift+tab", "4")
        await driver.sees("paused")
        await driver.press("5")
        await driver.sees("● ok", "store")
        assert max(map(len, driver.screen.splitlines())) <= NARROW[0]

    drive(watch, url=running.url, size=NARROW)


@pytest.mark.parametrize("size", [(40, 10), (20, 5), (250, 80)])
def test_any_size_of_a_terminal_will_do(running: Running, size: tuple[int, int]):
    async def watch(driver: Driver) -> None:
        await driver.sees("Tidegate")
        for key in ("2", "3", "4", "5", "1", "down", "pagedown", "end", "s", "question_mark", "escape"):
            await driver.press(key)

    drive(watch, url=running.url, size=size)


def test_without_unicode_and_colours_nothing_is_lost(running: Running, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("NO_COLOR", "1")

    async def watch(driver: Driver) -> None:
        screen = await driver.sees("the busy one", "rain in Rome", "paused")
        assert screen.isascii()
        strips = driver.app.screen._compositor.render_strips()
        styles = {segment.style for strip in strips for segment in strip if segment.style}
        assert {
            (style.color.name, style.bgcolor.name) for style in styles if style.color and style.bgcolor
        } <= {("default", "default")}
        await driver.press("t")
        await driver.sees("NO_COLOR is set")

    drive(watch, url=running.url, theme="terminal", glyphs=ASCII)


def test_colours_can_be_changed(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.sees("the busy one")
        for theme in ("light", "terminal", "dark"):
            await driver.press("t")
            await driver.sees(f"Colours: {theme}.", "the busy one")

    drive(watch, url=running.url)


def test_jobs_are_sorted_and_filtered(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.sees("rain in Rome")
        await driver.press("2", "s", "s")
        screen = await driver.sees("▲ Name")
        assert screen.index("fog") < screen.index("rain in Rome") < screen.index("sun in Oslo")
        await driver.press("S")
        screen = await driver.sees("▼ Name")
        assert screen.index("fog") > screen.index("sun in Oslo")
        await driver.press("slash", *"rain", "enter")
        await driver.no_longer_sees("sun in Oslo")
        await driver.sees("rain in Rome", "only rain (escape: all)")
        await driver.press("escape")
        await driver.sees("sun in Oslo", "the busy one")
        await driver.press("slash", *"queue:default", "enter")
        await driver.no_longer_sees("the busy one")
        await driver.sees("sun in Oslo")

    drive(watch, url=running.url)


def test_the_cursor_stays_with_its_job(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.sees("rain in Rome")
        await driver.press("2", "down")
        chosen = driver.app.pane.document["name"]
        await driver.press("s", "S")
        assert driver.app.pane.document["name"] == chosen
        await driver.press("home")
        assert driver.app.pane.document["name"] != chosen

    drive(watch, url=running.url)


def test_a_job_is_cancelled_only_when_that_is_meant(running: Running):
    with tidegate.connect(running.url) as client:
        job = client.sql("select 1", name="to be ended")

    async def watch(driver: Driver) -> None:
        await driver.sees("to be ended")
        await driver.press("slash", *"ended", "enter")
        await driver.no_longer_sees("rain in Rome")
        await driver.press("2", "c")
        await driver.sees(f"Cancel job {job.id}, to be ended, of local?", "It has not started yet.")
        await driver.press("n")
        await driver.no_longer_sees("Cancel job")
        assert (await driver.app.watcher.client.job(job.id)).status == "QUEUED"
        await driver.press("c")
        await driver.sees("Cancel job")
        await driver.press("y")
        await driver.sees(f"Job {job.id} is being cancelled.")
        await driver.no_longer_sees("to be ended")
        assert (await driver.app.watcher.client.job(job.id)).status == "CANCELLED"

    drive(watch, url=running.url)


def test_queues_are_paused_and_workers_drained_and_back(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.sees("the busy one")
        await driver.press("p")
        await driver.sees("Choose a queue first: key 4.")
        await driver.press("4", "p")
        await driver.sees("Queue busy is paused: what runs goes on.", "2 of 2 paused")
        await driver.press("p")
        await driver.sees("Queue busy is open again.", "1 of 2 paused")
        await driver.press("3", "d")
        await driver.sees("Worker local is drained: what runs goes on.", "draining")
        await driver.press("d")
        await driver.sees("Worker local gets jobs again.")
        await driver.no_longer_sees("draining")

    drive(watch, url=running.url)


@pytest.mark.parametrize("size", [(140, 42), NARROW])
def test_a_job_is_shown_with_what_it_prints(running: Running, size: tuple[int, int]):
    async def watch(driver: Driver) -> None:
        await driver.sees("the busy one")
        await driver.press("enter")
        screen = await driver.sees("the busy one  RUNNING", "What it prints", "line 30", "and \\x1b[31mred")
        assert "Attempt 1 starts on worker 'local'" in screen
        await driver.press("escape")
        await driver.sees("mode normal")
        await driver.press("2", "enter")
        await driver.sees("waits", "because queue 'default' is paused")

    drive(watch, url=running.url, size=size)


def test_a_job_is_followed_to_its_end(running: Running):
    with tidegate.connect(running.url) as client:
        job = client.submit(
            "command",
            argv=["sh", "-c", "echo begun; sleep 600"],
            name="a short life",
            queue="busy",
            cpus=0.1,
            memory="64MiB",
            disk="16MiB",
        )

    async def watch(driver: Driver) -> None:
        await driver.sees("a short life")
        await driver.press("slash", *"short", "enter", "1")
        await driver.no_longer_sees("the busy one")
        await driver.press("enter")
        await driver.sees("a short life  RUNNING", "begun")
        await driver.press("c")
        await driver.sees("It runs; what it has done so far")
        await driver.press("y")
        await driver.sees("a short life  CANCELLED")

    drive(watch, url=running.url)
    with tidegate.connect(running.url) as client:
        assert client.job(job.id).status == "CANCELLED"


def test_help_tells_the_keys(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.press("question_mark")
        await driver.sees("pause the queue, or resume it", "cancel the job, after a question")
        await driver.press("escape")
        await driver.sees("mode normal")

    drive(watch, url=running.url, size=NARROW)


def test_q_ends_it(running: Running):
    async def watch(driver: Driver) -> None:
        await driver.sees("the busy one")
        await driver.press("q")
        assert not driver.app.is_running

    drive(watch, url=running.url)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """The address of a server that wants keys, and a key of each of three owners; two of them have a job that waits."""
    server = Running(tmp_path_factory.mktemp("data"), grace_s=0.2)
    server.start()
    made = run("key", "create", "--owner", "ops", "--role", "admin", "--data-dir", str(server.data_dir))
    keys = {"ops": made.stdout.strip()}
    with tidegate.connect(server.url, api_key=keys["ops"]) as client:
        client.queues.pause("default")
        for owner, role in (("ann", "user"), ("vic", "viewer")):
            keys[owner] = client.keys.create(owner, role)["key"]
        client.sql("select 1", name="of ops")
    with tidegate.connect(server.url, api_key=keys["ann"]) as client:
        client.sql("select 1", name="of ann")
    yield server.url, keys
    server.stop()


def test_what_a_viewer_may_not_is_told_before_it_is_tried(guarded: tuple[str, dict[str, str]]):
    async def watch(driver: Driver) -> None:
        screen = await driver.sees("vic, viewer", "Nothing waits.")
        assert "of ann" not in screen
        await driver.press("4", "p")
        await driver.sees("Resuming a queue takes the role operator; your key has viewer.")
        await driver.press("3", "d")
        await driver.sees("Draining a worker takes the role operator; your key has viewer.")
        await driver.press("question_mark")
        await driver.sees("Your key has the role viewer, which may not: cancel, pause")

    url, keys = guarded
    drive(watch, url=url, api_key=keys["vic"])


def test_a_user_sees_and_ends_what_is_its_own(guarded: tuple[str, dict[str, str]]):
    async def watch(driver: Driver) -> None:
        screen = await driver.sees("ann, user", "of ann")
        assert "of ops" not in screen
        await driver.press("2", "c")
        await driver.sees("Cancel job")
        await driver.press("y")
        await driver.sees("is being cancelled.")
        await driver.no_longer_sees("of ann")

    url, keys = guarded
    drive(watch, url=url, api_key=keys["ann"])


def test_who_is_not_let_in_is_told(guarded: tuple[str, dict[str, str]]):
    async def watch(driver: Driver) -> None:
        await driver.sees("Not let in, reconnecting", "API key")

    drive(watch, url=guarded[0], api_key="tg_0000000000_nobody")


def test_a_server_that_goes_and_comes_back_elsewhere_is_found_again(tmp_path: Path):
    server = Running(tmp_path / "data", grace_s=0.2)
    server.start()
    with tidegate.connect(server.url) as client:
        client.queues.pause("default")
        client.sql("select 1", name="a job that stays")
    before = server.url

    async def watch(driver: Driver) -> None:
        await driver.sees("a job that stays", before)
        server.stop()
        screen = await driver.sees("No answer, reconnecting", "No Tidegate server")
        assert "a job that stays" in screen
        await driver.press("4", "p")
        await driver.sees("The server does not answer at the moment. Resuming a queue has to wait.")
        server.start()
        screen = await driver.sees(server.url, "mode normal", "a job that stays")
        assert "No answer" not in screen
        await driver.press("2", "enter")
        await driver.sees("a job that stays  QUEUED")

    try:
        drive(watch, data_dir=server.data_dir)
    finally:
        server.stop()
    assert server.url != before
