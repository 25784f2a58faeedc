"""Part a snapshot: bad rows go aside with their reasons, the others become a snapshot of their own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evermodel.atomic import replacing
from evermodel.validation.rows import RowRule
from evermodel.validation.scan import Scan, scan, text

REASON = "quarantine_reason"
_BATCH_ROWS = 100_000


@dataclass(frozen=True)
class Parted:
    """Where the rows of a snapshot went."""

    clean: Path
    rows: int
    aside: Path
    rows_aside: int


def part(file: Path, rules: Sequence[RowRule], aside: Path) -> Parted:
    """Write the rows that break no rule beside the snapshot, named by content, and the others to another file.

    The order of the rows stays. Doing it again ends in the same files.

    Parameters
    ----------
    file
        The snapshot.
    rules
        What a row must not break.
    aside
        File for the rows that do; a column `quarantine_reason` says why.
    """
    broken = " OR ".join(f"coalesce({rule.broken}, false)" for rule in rules)
    reasons = ", ".join(f"CASE WHEN {rule.broken} THEN {text(rule.name)} END" for rule in rules)
    folder = file.parent
    with scan(file) as opened:
        rows_aside = _write(
            opened,
            f"SELECT *, concat_ws('; ', {reasons}) AS {REASON} FROM {opened.source} WHERE {broken}",
            aside,
        )
        draft = folder / f".{file.stem}.clean"
        try:
            rows = _write(opened, f"SELECT * FROM {opened.source} WHERE NOT ({broken})", draft)
            clean = folder / f"{_digest(draft)}.parquet"
            draft.replace(clean)
        finally:
            draft.unlink(missing_ok=True)
    return Parted(clean, rows, aside, rows_aside)


def _write(opened: Scan, query: str, target: Path) -> int:
    import pyarrow.parquet as pq

    rows = 0
    batches = opened.connection.execute(query).fetch_record_batch(_BATCH_ROWS)
    with (
        replacing(target) as temporary,
        pq.ParquetWriter(temporary, batches.schema, compression="zstd", store_schema=False) as writer,
    ):
        for batch in batches:
            writer.write_batch(batch, row_group_size=_BATCH_ROWS)
            rows += batch.num_rows
    return rows


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:16]
