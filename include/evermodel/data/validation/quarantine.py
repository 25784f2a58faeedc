"""Split a snapshot: bad rows are quarantined with their reasons, the others become a separate snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import replacing
from evermodel.core.errors import EmptyWindowError
from evermodel.data.parquet import room_for, write_by_content
from evermodel.data.validation.rows import RowRule
from evermodel.data.validation.scan import Scan, scan, text

if TYPE_CHECKING:
    import pyarrow as pa

REASON = "quarantine_reason"
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Parted:
    """Where the rows of a snapshot went."""

    clean: Path
    rows: int
    aside: Path
    rows_aside: int


def set_aside(file: Path, rules: Sequence[RowRule], aside: Path, order: tuple[str, ...]) -> Parted:
    """Write the rows that break no rule beside the snapshot, named by content, and the others to another file.

    The order of the rows stays. Doing it again ends in the same files.

    Parameters
    ----------
    rules
        What a row must not break.
    aside
        File for the rows that do; a column `quarantine_reason` says why.
    order
        Columns that the snapshot is sorted by.

    Raises
    ------
    EmptyWindowError
        Every row breaks one.
    LakeFullError
        There is no room for the files.
    """
    broken = " OR ".join(f"coalesce({rule.broken}, false)" for rule in rules)
    reasons = ", ".join(f"CASE WHEN {rule.broken} THEN {text(rule.name)} END" for rule in rules)
    with scan(file) as opened:
        bad = f"SELECT *, concat_ws('; ', {reasons}) AS {REASON} FROM {opened.source} WHERE {broken}"
        with room_for(aside):
            rows_aside = _write(_tables(opened, bad), aside)
        good = f"SELECT * FROM {opened.source} WHERE NOT ({broken})"
        written = write_by_content(_tables(opened, good), file.parent, order)
    if written is None:
        raise EmptyWindowError(
            f"every row of the snapshot {file.name} would be quarantined", f"see the reasons in {aside}"
        )
    clean, rows = written
    return Parted(clean, rows, aside, rows_aside)


def _tables(opened: Scan, query: str) -> Iterator[pa.Table]:
    import pyarrow as pa

    for batch in opened.connection.sql(query).to_arrow_reader(_BATCH_ROWS):
        yield pa.Table.from_batches([batch])


def _write(tables: Iterator[pa.Table], target: Path) -> int:
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
