from __future__ import annotations

import pytest

from tidegate.core.names import managed_file


@pytest.mark.parametrize("kept", ["results/r-1.1.1.parquet", "/old/place/results/r-1.1.1.parquet"])
def test_a_file_of_ours_lies_in_the_data_directory_of_today(kept):
    assert managed_file(kept, "/new") == "/new/results/r-1.1.1.parquet"
