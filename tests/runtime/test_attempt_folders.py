"""Folders of attempts: each finds its own empty, whatever the one before it did."""

from pathlib import Path

import pytest

from tidegate.core.job import AttemptKey
from tidegate.runtime.attempt_folders import MOST_SPARE, AttemptFolders, WorkFolders
from tidegate.runtime.publish import DataFolders

ONE, OTHER = AttemptKey(81, 1, 2), AttemptKey(82, 1, 1)


@pytest.fixture
def places(tmp_path: Path) -> DataFolders:
    places = DataFolders(tmp_path)
    places.open()
    return places


@pytest.fixture
def folders(places: DataFolders) -> AttemptFolders:
    return AttemptFolders(places.attempts)


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_an_empty_folder_is_used_again_under_the_next_name(
    places: DataFolders, folders: AttemptFolders
) -> None:
    assert folders.take(ONE) == str(places.attempt(ONE))
    made = places.attempt(ONE).stat().st_ino
    assert folders.keep(ONE)
    assert not places.attempt(ONE).exists()
    folders.take(OTHER)
    assert places.attempt(OTHER).stat().st_ino == made
    assert contents(places.attempts) == [str(OTHER), f"{OTHER}/staging"]


@pytest.mark.parametrize("left", ["staging/spilled", "note"])
def test_a_folder_in_which_something_is_left_is_not_kept(
    places: DataFolders, folders: AttemptFolders, left: str
) -> None:
    folders.take(ONE)
    (places.attempt(ONE) / left).write_text("secret")
    assert not folders.keep(ONE)
    folders.remove(ONE)
    folders.take(OTHER)
    assert contents(places.attempts) == [str(OTHER), f"{OTHER}/staging"]


def test_a_folder_that_was_tampered_with_is_not_kept(places: DataFolders, folders: AttemptFolders) -> None:
    folders.take(ONE)
    staging = places.attempt(ONE) / "staging"
    staging.chmod(0o777)
    assert not folders.keep(ONE)
    staging.rmdir()
    staging.symlink_to(places.results)
    assert not folders.keep(ONE)
    folders.remove(ONE)
    assert not folders.keep(ONE)
    assert places.results.is_dir()


def test_spare_folders_that_went_meanwhile_are_made_anew(
    places: DataFolders, folders: AttemptFolders
) -> None:
    folders.take(ONE)
    folders.keep(ONE)
    [spare] = places.attempts.iterdir()
    (spare / "staging").rmdir()
    spare.rmdir()
    folders.take(OTHER)
    assert contents(places.attempts) == [str(OTHER), f"{OTHER}/staging"]


def test_a_folder_that_is_there_already_is_an_error(places: DataFolders, folders: AttemptFolders) -> None:
    folders.take(ONE)
    with pytest.raises(FileExistsError):
        folders.take(ONE)


def test_only_some_are_kept(folders: AttemptFolders) -> None:
    keys = [AttemptKey(job_id, 1, 1) for job_id in range(MOST_SPARE + 1)]
    for key in keys:
        folders.take(key)
    assert [folders.keep(key) for key in keys] == [True] * MOST_SPARE + [False]


def test_removing_an_attempt_twice_is_harmless(places: DataFolders, folders: AttemptFolders) -> None:
    folders.take(ONE)
    folders.remove(ONE)
    folders.remove(ONE)
    assert contents(places.attempts) == []


def test_with_a_scratch_disk_an_attempt_works_there_and_hands_over_to_the_shared_path(
    places: DataFolders, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    (scratch / "left-by-an-earlier-worker").mkdir()
    folders = WorkFolders(places.attempts, scratch)
    folders.clear_scratch()
    taken = folders.take(ONE)
    assert taken == (str(scratch / str(ONE)), f"{places.attempt(ONE)}/staging")
    assert contents(scratch) == [str(ONE), f"{ONE}/staging"]
    (scratch / str(ONE) / "staging" / "spilled").write_text("secret")
    assert not folders.keep(ONE)
    folders.remove(ONE)
    again = folders.take(OTHER)
    assert again == (str(scratch / str(OTHER)), f"{places.attempt(OTHER)}/staging")
    assert contents(scratch) == contents(places.attempts) == [str(OTHER), f"{OTHER}/staging"]
    assert folders.keep(OTHER)


def test_without_a_scratch_disk_nothing_is_handed_over(places: DataFolders) -> None:
    folders = WorkFolders(places.attempts)
    folders.clear_scratch()
    assert folders.take(ONE) == (str(places.attempt(ONE)), None)
