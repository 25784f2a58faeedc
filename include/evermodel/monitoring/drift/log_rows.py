"""Rows of the prediction log, with the answers of each version as columns of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.reference_and_current import ColumnarRows

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class LogRows:
    """Rows with further columns: of ``score`` and version 3 ``score@3``, which has only that version's rows.

    Parameters
    ----------
    rows
        The log; without versions or answers there are no further columns.
    columns
        Columns that hold answers.
    version
        Whose answers they are, when the rows do not tell.
    """

    rows: ColumnarRows
    columns: Sequence[str]
    version: str = ""

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return self.rows.num_rows

    @cached_property
    def column_names(self) -> list[str]:
        """Names of all columns."""
        return [*self.rows.column_names, *self.answers]

    @cached_property
    def answers(self) -> dict[str, tuple[str, str]]:
        """Column and version behind each further column."""
        present = self.rows.column_names
        versions = [self.version] if self.version else []
        if "model_version" in present:
            versions = sorted(map(str, self._versions.unique().drop_null().to_pylist()))
        wanted = [column for column in self.columns if column in present]
        return {of_version(column, v): (column, v) for column in wanted for v in versions}

    @property
    def numbers(self) -> frozenset[str]:
        """The further columns that are numbers."""
        return frozenset(name for name, (column, _) in self.answers.items() if column == "score")

    def __getitem__(self, name: str) -> pa.ChunkedArray[Any]:
        """Return one column."""
        import pyarrow.compute as pc

        if name not in self.answers:
            return self.rows[name]
        column, version = self.answers[name]
        if len(self.answers) == len(self.columns):
            return self.rows[column]
        return self.rows[column].filter(pc.equal(self._versions, version))

    @cached_property
    def _versions(self) -> pa.ChunkedArray[Any]:
        return self.rows["model_version"]
