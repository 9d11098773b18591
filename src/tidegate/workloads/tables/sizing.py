"""What reading a file will take, judged from its directory, before anything is unpacked."""

from __future__ import annotations

import os

from tidegate.core.resources import MIB
from tidegate.workloads.errors import TaskError
from tidegate.workloads.tables.model import Estimate, TableOptions

_CSV_MEMORY_BYTES = 256 * MIB
"""DuckDB streams CSV; 32 MB a thread for its buffers, and the row group that is being written."""


def estimate(path: str, options: TableOptions) -> Estimate:
    """Memory and disk for `reading.extract`. Cheap; loads neither DuckDB nor a reader of Excel files.

    Raises TaskError: `empty_file`, `not_a_workbook`, `corrupt_file`, `encrypted_file`, `archive_bomb`.
    """
    size_bytes = os.stat(path).st_size
    if size_bytes == 0:
        raise TaskError(
            f"The file {os.path.basename(path)!r} is empty: it has no columns.", code="empty_file"
        )
    return Estimate(
        memory_bytes=_CSV_MEMORY_BYTES,
        disk_bytes=2 * size_bytes + 64 * MIB,
        uncompressed_bytes=size_bytes,
        reader="csv",
    )
