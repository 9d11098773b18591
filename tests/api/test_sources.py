from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.api.support import World, assert_problem, fails_with, logged
from tidegate.core.attempt import Exit
from tidegate.core.states import ExitReason


def add(world: World, name: str = "trips", file: str = "trips.parquet") -> Path:
    path = world.data_dir / "mine" / file
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"PAR1 0123456789 PAR1")
    answer = world.http.post("/api/v1/sources", json={"name": name, "path": str(path)})
    assert answer.status_code == 201, answer.text
    assert answer.headers["location"] == f"/api/v1/sources/{name}"
    return path


def test_a_registered_source_is_described(world: World):
    path = add(world)
    shown = world.http.get("/api/v1/sources/trips").json()
    assert (shown["name"], shown["format"], shown["path"]) == ("trips", "parquet", str(path))
    assert shown["columns"] == [{"name": "answer", "type": "INTEGER"}]
    assert (shown["column_count"], shown["row_count"], shown["managed"]) == (1, 1, False)
    assert world.http.get("/api/v1/sources").json() == {"items": [shown], "next_cursor": None}


def test_a_name_can_be_taken_once(world: World):
    path = add(world)
    again = world.http.post("/api/v1/sources", json={"name": "Trips", "path": str(path)})
    assert_problem(again, 409, "source_exists")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"path": "x"}, "name"),
        ({"name": "a"}, "path"),
        ({"name": 7, "path": "x"}, "name"),
        ({"name": "a", "path": ""}, "path"),
        ({"name": "a", "path": "x", "fromat": "csv"}, "fromat"),
        ({"name": "a" * 64, "path": "x"}, "name"),
        ({"name": "select", "path": "x"}, "name"),
        ({"name": "a", "path": "x.csv", "options": 7}, "options"),
    ],
)
def test_a_bad_registration_names_the_field(shared: World, body: dict[str, object], field: str):
    problem = assert_problem(shared.http.post("/api/v1/sources", json=body), 422, "invalid_input")
    assert problem.get("field", field) == field
    assert field in problem["detail"]


def test_what_cannot_be_read_is_refused_with_the_reason(world: World):
    path = world.data_dir / "bad.parquet"
    path.write_bytes(b"nonsense")
    world.play(
        fails_with(Exit(ExitReason.ERROR, "No Parquet file: the footer is missing.", code="corrupt_file"))
    )
    answer = world.http.post("/api/v1/sources", json={"name": "bad", "path": str(path)})
    assert "footer" in assert_problem(answer, 422, "corrupt_file")["detail"]
    assert_problem(world.http.get("/api/v1/sources/bad"), 404, "unknown_source")


def test_lists_page_in_order_of_name(world: World):
    for name in ("c", "a", "b"):
        add(world, name, f"{name}.csv")
    first = world.http.get("/api/v1/sources", params={"limit": 2}).json()
    rest = world.http.get("/api/v1/sources", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    assert [s["name"] for s in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None


def test_deleting_a_result_deletes_its_file_and_deleting_a_users_source_does_not(world: World):
    mine = add(world)
    result = Path(world.finished(world.submit(result_name="made"))["result"]["path"])
    assert result.is_file()
    for name in ("trips", "made"):
        answer = world.http.delete(f"/api/v1/sources/{name}")
        assert (answer.status_code, answer.content) == (204, b"")
    assert (mine.is_file(), result.exists()) == (True, False)
    assert_problem(world.http.delete("/api/v1/sources/made"), 404, "unknown_source")


def test_a_preview_states_its_limits(world: World):
    add(world)
    rows = world.http.get("/api/v1/sources/trips/preview", params={"limit": 5, "offset": 3}).json()
    assert (rows["rows"], rows["row_count"], rows["truncated"], rows["reached"]) == ([[42]], 1, False, None)
    assert (rows["limits"]["rows"], rows["offset"]) == (5, 3)
    own = world.http.get(f"/api/v1/jobs/{rows['job_id']}").json()
    assert own["sql"] == 'select * from "trips" limit 5 offset 3'
    assert own["queue"] == "interactive"
    assert not Path(own["result"]["path"]).exists()


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "offset=-1", f"offset={10**30}", "limit=x"])
def test_a_preview_out_of_range_is_refused(shared: World, query: str):
    assert_problem(shared.http.get(f"/api/v1/sources/any/preview?{query}"), 422, "invalid_input")


def test_parquet_is_sent_as_it_lies_on_disk_with_ranges(world: World):
    content = b"PAR1 0123456789 PAR1"
    assert world.http.put("/api/v1/files/trips.parquet", content=content).status_code == 201
    url = "/api/v1/sources/trips/download"
    whole = world.http.get(url)
    assert whole.content == content
    assert whole.headers["content-type"] == "application/vnd.apache.parquet"
    assert whole.headers["content-disposition"] == 'attachment; filename="trips.parquet"'
    part = world.http.get(url, headers={"Range": "bytes=5-14"})
    assert (part.status_code, part.content) == (206, b"0123456789")
    assert part.headers["content-range"] == "bytes 5-14/20"
    beyond = world.http.get(url, headers={"Range": "bytes=50-"})
    assert assert_problem(beyond, 416, "range_not_satisfiable")["limit"] == 20
    assert beyond.headers["content-range"] == "bytes */20"
    assert_problem(world.http.get(url, headers={"Range": "bytes=x-"}), 416, "range_not_satisfiable")


@pytest.mark.parametrize(
    ("format", "media"), [("csv", "text/csv; charset=utf-8"), ("jsonl", "application/x-ndjson")]
)
def test_other_formats_are_exported_and_leave_no_file(
    world: World, caplog: pytest.LogCaptureFixture, format: str, media: str
):
    add(world)
    with caplog.at_level(logging.DEBUG, "tidegate.access"):
        answer = world.http.get("/api/v1/sources/trips/download", params={"format": format})
        assert answer.headers["content-type"] == media
        assert answer.content.startswith(f"PAR1 {format} of".encode())
        logged(world, caplog, "trips/download")
    assert list((world.data_dir / "results").iterdir()) == []


@pytest.mark.parametrize("format", ["pdf", "exe"])
def test_a_format_that_is_not_supported_names_those_that_are(world: World, format: str):
    add(world)
    answer = world.http.get("/api/v1/sources/trips/download", params={"format": format})
    assert "parquet, csv, jsonl" in assert_problem(answer, 422, "unsupported_format")["detail"]


def test_a_download_whose_file_is_gone_is_an_answer(world: World):
    path = Path(world.finished(world.submit(result_name="made"))["result"]["path"])
    path.unlink()
    assert_problem(world.http.get("/api/v1/sources/made/download"), 404, "not_found")


@pytest.mark.parametrize("name", ["nothing", "%00", "a%20b", "x" * 300, "ä"])
def test_an_unknown_source_is_not_found(shared: World, name: str):
    base = f"/api/v1/sources/{name}"
    assert_problem(shared.http.get(base), 404, "unknown_source")
    assert_problem(shared.http.delete(base), 404, "unknown_source")
    for route in ("preview", "download"):
        assert_problem(shared.http.get(f"{base}/{route}"), 404, "unknown_source")
