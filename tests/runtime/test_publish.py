from pathlib import Path

import pytest

from tidegate.core.job import AttemptKey
from tidegate.runtime.publish import (
    KEPT_LOG_BYTES,
    DataFolders,
    PublishError,
    keep_log,
    publish_file,
    remove_attempt,
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


def test_a_log_is_kept_with_both_ends_and_an_empty_one_is_not(folders: DataFolders) -> None:
    log = folders.attempt(KEY) / "log"
    log.touch()
    keep_log(folders, KEY)
    assert not folders.log(KEY).exists()
    log.write_bytes(b"first\n" + b"." * (2 * KEPT_LOG_BYTES) + b"\nlast")
    keep_log(folders, KEY)
    kept = folders.log(KEY).read_bytes()
    assert kept.startswith(b"first\n")
    assert kept.endswith(b"\nlast")
    assert b"bytes left out" in kept
    assert len(kept) < KEPT_LOG_BYTES + 100


def test_a_log_that_is_a_link_is_not_followed(folders: DataFolders) -> None:
    (folders.attempt(KEY) / "log").symlink_to("/etc/passwd")
    keep_log(folders, KEY)
    assert not folders.log(KEY).exists()


def test_removing_an_attempt_twice_is_harmless(folders: DataFolders) -> None:
    remove_attempt(folders, KEY)
    remove_attempt(folders, KEY)
    assert not folders.attempt(KEY).exists()
