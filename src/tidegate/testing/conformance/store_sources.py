"""What every `SourceStore` does."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tidegate.core.names import INTERACTIVE_QUEUE
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
        assert world.store.managed_paths() == {source.path}
        assert world.store.delete_source("MINE", "ann") == source
        assert world.store.managed_paths() == set()
        with pytest.raises(NotFound):
            world.store.source("mine", "ann")

    def test_files_of_answers_are_needed_until_whoever_asked_has_them(self, world: World) -> None:
        key = world.run(queue=INTERACTIVE_QUEUE)
        world.report(key, result={"path": "results/rows.json", "row_count": 1})
        assert world.store.managed_paths() == {"results/rows.json"}
        assert world.store.managed_paths(world.now) == {"results/rows.json"}
        assert world.store.managed_paths(world.clock.advance(1)) == set()

    def test_files_of_results_that_are_no_sources_are_needed_as_long_as_their_job(self, world: World) -> None:
        key = world.run()
        world.report(key, result={"path": "/data/results/rows.json", "row_count": 1})
        assert world.store.managed_paths() == {"/data/results/rows.json"}
        assert world.store.managed_paths(world.now + timedelta(days=1)) == {"/data/results/rows.json"}
        world.store.prune(world.now + timedelta(days=1))
        assert world.store.managed_paths() == set()
