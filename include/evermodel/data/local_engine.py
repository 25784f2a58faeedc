"""DuckDB in this process, bounded in memory: what needs more goes to a temporary folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb

_MEMORY = "400MB"  # before it writes to disk; Python, Arrow and one batch come on top
THREADS = 4
SCRATCH = ".evermodel-"  # how the temporary folders' names begin


@contextmanager
def local_engine(scratch: Path | None = None, threads: int = THREADS) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open an empty database; what it writes to disk is gone afterwards.

    Parameters
    ----------
    scratch
        Folder of its temporary files; the machine's (`TMPDIR`) if not given.
    """
    import duckdb

    with tempfile.TemporaryDirectory(prefix=SCRATCH, dir=scratch) as folder:
        duck = duckdb.connect(
            config={
                "autoinstall_known_extensions": False,
                "memory_limit": _MEMORY,
                "temp_directory": folder,
                "threads": min(threads, os.cpu_count() or 1),
            }
        )
        try:
            # Times without a zone are UTC, wherever this machine is.
            duck.execute("SET TimeZone = 'UTC'")
            duck.execute("SET enable_progress_bar = false")  # it would be drawn into the logs of long queries
            yield duck
        finally:
            duck.close()
