"""What every `SourceStore` does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from tidegate.core.job import AttemptKey
from tidegate.core.names import INTERACTIVE_QUEUE
from tidegate.core.source import Growth, SourceColumn, SourcePart
from tidegate.core.states import TaskState
from tidegate.errors import Conflict, NotFound
from tidegate.ports import Store
from tidegate.testing.conformance.world import World, new_source


class SourceStoreConformance:
    """Sources."""

    @pytest.fixture
    def world(self, store: Store) -> World:
        return World(store)

    def test_a_source_reads_back_as_added(self, world: World) -> None:
        source = new_source(
            "Cities",
            world.now,
            options={"delim": ";", "types": {"a": "DATE"}},
            file_count=3,
            roots=("/a", "/b"),
        )
        world.store.add_source(source)
        assert world.store.source("cities", "ann") == source
        assert world.store.sources_named(["CITIES", "unknown", "cities"], "ann") == [source]
        assert world.store.sources_named([], "ann") == []

    def test_a_name_is_taken_once_without_regard_to_case(self, world: World) -> None:
        world.store.add_source(new_source("cities", world.now))
        with pytest.raises(Conflict, match="Cities"):
            world.store.add_source(new_source("Cities", world.now))

    def test_an_unknown_name_is_answered_with_the_nearest(self, world: World) -> None:
        world.store.add_source(new_source("Cities", world.now))
        with pytest.raises(NotFound, match="Cities"):
            world.store.source("citeis", "ann")
        with pytest.raises(NotFound):
            world.store.delete_source("nothing_like_it", "ann")

    def test_lists_are_in_order_of_name_and_paged(self, world: World) -> None:
        for name in ("b", "A", "c"):
            world.store.add_source(new_source(name, world.now, owner="bob" if name == "c" else "ann"))
        assert [source.name for source in world.store.sources()] == ["A", "b", "c"]
        assert [source.name for source in world.store.sources(after="ann/a", limit=1)] == ["b"]
        assert [source.name for source in world.store.sources(owner="bob")] == ["c"]

    def test_a_source_is_replaced_by_another_only_if_it_is_still_the_same(self, world: World) -> None:
        old = new_source("mine", world.now)
        new = new_source("Mine", world.clock.advance(1), row_count=4)
        world.store.add_source(old)
        world.store.replace_source(old, new)
        assert world.store.source("mine", "ann") == new
        with pytest.raises(Conflict, match="changed or deleted"):
            world.store.replace_source(old, old)
        assert world.store.sources() == [new]
        world.store.delete_source("mine", "ann")
        with pytest.raises(Conflict, match="changed or deleted"):
            world.store.replace_source(new, old)
        assert world.store.sources() == []

    def test_a_deleted_source_is_gone(self, world: World) -> None:
        source = new_source("mine", world.now, managed=True)
        world.store.add_source(source)
        world.store.add_source(new_source("users", world.now, managed=False))
        assert world.managed_paths() == {source.path}
        assert world.store.delete_source("MINE", "ann") == source
        assert world.managed_paths() == set()
        with pytest.raises(NotFound):
            world.store.source("mine", "ann")

    def test_files_of_answers_are_needed_until_whoever_asked_has_them(self, world: World) -> None:
        key = world.run(queue=INTERACTIVE_QUEUE)
        world.report(key, result={"path": "results/rows.json", "row_count": 1})
        assert world.managed_paths() == {"results/rows.json"}
        assert world.managed_paths(world.now) == {"results/rows.json"}
        assert world.managed_paths(world.clock.advance(1)) == set()

    def test_files_of_results_that_are_no_sources_are_needed_as_long_as_their_job(self, world: World) -> None:
        key = world.run()
        world.report(key, result={"path": "/data/results/rows.json", "row_count": 1})
        assert world.managed_paths() == {"/data/results/rows.json"}
        assert world.managed_paths(world.now + timedelta(days=1)) == {"/data/results/rows.json"}
        world.store.prune(world.now + timedelta(days=1))
        assert world.managed_paths() == set()

    def test_loads_add_parts_to_a_source_and_the_same_load_comes_once(self, world: World) -> None:
        first, second = world.run(), world.run()
        world.report(first, growths=(_growth(first, "a", columns=(SourceColumn("n", "BIGINT"),)),))
        made = world.store.source("trips", "ann")
        assert (made.row_count, made.path, made.file_count) == (3, "results/parts/a.parquet", 1)

        again = world.report(second, growths=(_growth(second, "a"),), result={"inserted": 3})
        assert again is not None
        assert again.next_state is TaskState.SUCCEEDED
        assert again.result == {"inserted": 0, "updated": 0, "unchanged": True}
        assert world.store.source("trips", "ann") == made

        third = world.run()
        more = (SourceColumn("N", "VARCHAR"), SourceColumn("m", "DATE"))
        world.report(third, growths=(_growth(third, "b", columns=more),))
        now = world.store.source("trips", "ann")
        assert now.row_count == 6
        assert now.columns == (SourceColumn("n", "VARCHAR"), SourceColumn("m", "DATE"))
        assert world.managed_paths() == {"results/parts/a.parquet", "results/parts/b.parquet"}

    def test_a_replacing_load_keeps_only_what_its_own_job_has_brought(self, world: World) -> None:
        old = world.run()
        world.report(old, growths=(_growth(old, "a"),))
        new = world.run()
        world.report(new, growths=(_growth(new, "b", replace=True),))
        assert [part.load for part in world.store.source("trips", "ann").parts] == ["b"]
        assert world.managed_paths() == {"results/parts/b.parquet"}

    def test_two_loads_of_one_report_both_arrive(self, world: World) -> None:
        keys = [world.run(), world.run()]
        ends = [
            world.end(key, growths=(_growth(key, load, replace=True),))
            for key, load in zip(keys, "ab", strict=True)
        ]
        assert len(world.store.report(ends)) == 2
        assert [part.load for part in world.store.source("trips", "ann").parts] == ["b"]

    def test_what_was_not_made_by_loads_does_not_grow(self, world: World) -> None:
        world.store.add_source(new_source("trips", world.now))
        key = world.run()
        end = world.report(key, growths=(_growth(key, "a"),))
        assert end is not None
        assert (end.next_state, end.result, end.growths) == (TaskState.FAILED, None, ())
        assert end.exit is not None
        assert end.exit.code == "source_exists"
        assert world.store.source("trips", "ann").parts == ()

    def test_what_a_cancelled_job_has_loaded_is_dropped(self, world: World) -> None:
        key = world.run()
        world.store.request_cancel(key.job_id, world.now)
        world.report(key, growths=(_growth(key, "a"),))
        assert world.store.sources() == []


def _growth(key: AttemptKey, load: str, **changes: Any) -> Growth:
    part = SourcePart(f"results/parts/{load}.parquet", 3, 100, key.job_id, load, f"{load}.csv")
    fields: dict[str, Any] = {"columns": (SourceColumn("n", "BIGINT"),), **changes}
    return Growth("trips", "ann", part, **fields)
