"""DuckDB in this process, bounded in memory: what needs more goes to a temporary folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

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


_shared: ContextVar[tuple[int, duckdb.DuckDBPyConnection] | None] = ContextVar("shared_engine", default=None)


@contextmanager
def one_engine() -> Iterator[None]:
    """Have all joins of tables within share one database: of small tables opening one takes most of the time."""
    if _shared.get() is not None:
        yield
        return
    with local_engine() as duck:
        token = _shared.set((os.getpid(), duck))
        try:
            yield
        finally:
            _shared.reset(token)


@contextmanager
def engine_of(**tables: pa.Table) -> Iterator[duckdb.DuckDBPyConnection]:
    """Open a database of some tables; what is made in it has to be temporary."""
    process, duck = _shared.get() or (0, None)
    if duck is None or process != os.getpid():  # a fork has none of its threads
        with local_engine() as own, _registered(own, tables):
            yield own
        return
    with duck.cursor() as cursor, _registered(cursor, tables):
        yield cursor


@contextmanager
def _registered(duck: duckdb.DuckDBPyConnection, tables: dict[str, pa.Table]) -> Iterator[None]:
    duck.execute("SET TimeZone = 'UTC'")
    for name, table in tables.items():
        duck.register(name, table)
    yield
