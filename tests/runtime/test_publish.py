from pathlib import Path

import pytest

from tidegate.core.job import AttemptKey
from tidegate.runtime.publish import (
    DataFolders,
    PublishError,
    publish_file,
    publish_folder,
    remove_published,
    sync_folder,
)

KEY = AttemptKey(81, 1, 2)
WHOLE = b"PAR1" + b"\0" * 40 + b"PAR1"


@pytest.fixture
def folders(tmp_path: Path) -> DataFolders:
    folders = DataFolders(tmp_path)
    folders.open()
    (folders.attempt(KEY) / "staging").mkdir(parents=True)
    return folders


def staged(folders: DataFolders, name: str, content: bytes) -> Path:
    path = folders.attempt(KEY) / "staging" / name
    path.write_bytes(content)
    return path


def test_a_result_gets_a_name_that_only_its_attempt_uses(folders: DataFolders) -> None:
    staged(folders, "by_city.parquet", WHOLE)
    path = publish_file(folders, KEY, "by_city.parquet")
    sync_folder(folders.results)
    assert path == folders.results / "by_city-81.1.2.parquet"
    assert path.read_bytes() == WHOLE


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1PAR1", WHOLE[:-1], b"x" + WHOLE])
def test_a_parquet_file_that_is_not_whole_is_refused(folders: DataFolders, content: bytes) -> None:
    staged(folders, "r.parquet", content)
    with pytest.raises(PublishError, match="not a whole Parquet file"):
        publish_file(folders, KEY, "r.parquet")
    assert list(folders.results.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["../../tidegate.db", "a/b.csv", "", ".", "..", "missing.csv", "link.csv", "folder"]
)
def test_a_name_that_leads_elsewhere_is_refused(folders: DataFolders, name: str) -> None:
    staging = folders.attempt(KEY) / "staging"
    (staging / "link.csv").symlink_to("/etc/passwd")
    (staging / "folder").mkdir()
    with pytest.raises(PublishError):
        publish_file(folders, KEY, name)


def test_a_folder_of_files_gets_a_name_that_only_its_attempt_uses(folders: DataFolders) -> None:
    staging = folders.attempt(KEY) / "staging"
    (staging / "output" / "deep").mkdir(parents=True)
    (staging / "output" / "deep" / "file").write_text("x")
    (staging / "output").chmod(0o000)
    path = publish_folder(folders, KEY, "output")
    assert path == folders.results / "output-81.1.2"
    assert (path / "deep" / "file").read_text() == "x"
    remove_published(path)
    remove_published(path)
    assert not path.exists()


@pytest.mark.parametrize("name", ["../../files", "a/b", "", ".", "..", "missing", "link", "file"])
def test_a_name_that_is_no_folder_is_refused(folders: DataFolders, name: str) -> None:
    staging = folders.attempt(KEY) / "staging"
    (staging / "link").symlink_to("/etc")
    (staging / "file").touch()
    with pytest.raises(PublishError):
        publish_folder(folders, KEY, name)
