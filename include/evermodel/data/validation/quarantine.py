"""Split a snapshot: bad rows are quarantined with their reasons, the others become a separate snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import replacing
from evermodel.core.errors import EmptyWindowError, SourceError
from evermodel.core.storage import StoragePath, local_copy
from evermodel.data.parquet import room_for, write_by_content
from evermodel.data.validation.rows import RowRule, any_broken
from evermodel.data.validation.scan import Scan, name, scan

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "quarantine_reason"
_BATCH_ROWS = 100_000
_IDS = 5


@dataclass(frozen=True)
class QuarantineReason:
    """Rows that were quarantined for the same reason.

    Parameters
    ----------
    first, last
        Times of the oldest and the newest of them, ISO 8601; empty if they have none.
    ids
        Some of them.
    """

    reason: str
    rows: int
    first: str
    last: str
    ids: tuple[str, ...]


def quarantine(file: Path, rules: Sequence[RowRule], aside: StoragePath) -> int:
    """Write the rows of a snapshot that break a rule to another file, and return how many they are.

    The order of the rows stays. Doing it again ends in the same file.

    Parameters
    ----------
    rules
        What a row must not break.
    aside
        The other file; a column `quarantine_reason` says why.

    Raises
    ------
    LakeFullError
        There is no room for the file.
    """
    reasons = ", ".join(f"CASE WHEN {rule.broken} THEN {rule.reason} END" for rule in rules)
    with scan(file) as opened, room_for(aside):
        bad = (
            f"SELECT *, concat_ws('; ', {reasons}) AS {REASON} FROM {opened.source} WHERE {any_broken(rules)}"
        )
        return _write(_tables(opened, bad), aside)


def clean_snapshot(file: Path, rules: Sequence[RowRule], order: tuple[str, ...]) -> tuple[Path, int]:
    """Write the rows that break no rule beside the snapshot, named by content; return that file and its rows.

    Parameters
    ----------
    order
        Columns that the snapshot is sorted by.

    Raises
    ------
    EmptyWindowError
        Every row breaks one.
    LakeFullError
        There is no room for the file.
    """
    with scan(file) as opened:
        good = f"SELECT * FROM {opened.source} WHERE NOT ({any_broken(rules)})"
        written = write_by_content(_tables(opened, good), file.parent, order)
    if written is None:
        raise EmptyWindowError(
            f"every row of the snapshot {file.name} would be quarantined",
            "see the reasons in the run's validation report",
        )
    return written


def reasons_in(aside: StoragePath, time_column: str, id_column: str) -> list[QuarantineReason]:
    """Return the reasons in a file that `quarantine` wrote, the commonest first.

    Raises
    ------
    SourceError
        The file is missing or is no whole Parquet file.
    """
    with _copied(aside) as file, scan(file) as opened:
        time, identity = (name(c) if c in opened.types else "NULL" for c in (time_column, id_column))
        ids = f"list({identity}::VARCHAR)[1:{_IDS}]"
        found = opened.rows(
            f"SELECT {REASON}, count(*), min({time})::VARCHAR, max({time})::VARCHAR, {ids} "
            f"FROM {opened.source} GROUP BY 1 ORDER BY 2 DESC, 1"
        )
    return [
        QuarantineReason(reason, rows, first or "", last or "", tuple(filter(None, ids)))
        for reason, rows, first, last, ids in found
    ]


@contextmanager
def _copied(aside: StoragePath) -> Iterator[Path]:
    """Give the file on this machine, for the engine."""
    try:
        with local_copy(aside) as file:
            yield file
    except FileNotFoundError as error:
        raise SourceError(f"{error}", "retrain, which writes it again") from error


def _tables(opened: Scan, query: str) -> Iterator[pa.Table]:
    import pyarrow as pa

    for batch in opened.connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _write(tables: Iterator[pa.Table], target: StoragePath) -> int:
    import pyarrow.parquet as pq

    rows, writer = 0, None
    with replacing(target) as temporary:
        for table in tables:
            writer = writer or pq.ParquetWriter(temporary, table.schema, compression="zstd")
            writer.write_table(table)
            rows += table.num_rows
        if writer is not None:
            writer.close()
    return rows
