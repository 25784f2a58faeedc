"""A user function that returns the rows of an interval."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from evermodel.core.errors import EvermodelError, SourceError
from evermodel.data.sources.relation import Relation, imported, require_columns, steps, trouble
from evermodel.spec.source import PythonSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa


class PythonRelation(Relation[PythonSource]):
    """Output of a function: an Arrow table, a reader, batches, or a pandas frame."""

    def unreadable(self, error: Exception) -> EvermodelError:
        """Name the function."""
        advice = f"fix {self.source.function}; it is called with the interval's start and end"
        return trouble(self.spec, error, advice)

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        function = imported(self.spec, self.source.function, "source.function")
        found = False
        for part in steps(window, self.source.step):
            for batch in self._arrow(function(part.start, part.end, **self.source.arguments)):
                if not found:
                    require_columns(self.spec, batch.schema.names, columns)
                found = True
                yield batch.select(columns)
        if not found:
            yield self._nothing(columns)

    def _arrow(self, given: object) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        if isinstance(given, pa.RecordBatch):
            yield given
        elif isinstance(given, pa.Table):
            yield from given.to_batches() or [_empty(given.schema)]
        elif isinstance(given, pa.RecordBatchReader):
            yield from given
        elif hasattr(given, "to_arrow"):  # polars
            yield from given.to_arrow().to_batches()
        elif hasattr(given, "iloc"):
            yield from self._from_pandas(given)
        elif hasattr(given, "__iter__") and not isinstance(given, dict | str | bytes):
            for part in given:
                yield from self._arrow(part)
        else:
            raise SourceError(
                f"model {self.spec.name}: {self.source.function} returned a {type(given).__name__}",
                "return an Arrow table, reader or batches, or a pandas or polars frame",
            )

    def _from_pandas(self, frame: Any) -> Iterator[pa.RecordBatch]:
        import pyarrow as pa

        require_columns(self.spec, [str(name) for name in frame.columns], [])
        try:
            table = pa.Table.from_pandas(frame, preserve_index=False)
        except (pa.ArrowInvalid, pa.ArrowTypeError, ValueError) as error:
            # Arrow's message names the column.
            raise SourceError(
                f"model {self.spec.name}: a column of {self.source.function} mixes types: {error}",
                "cast it to one type in the function",
            ) from error
        yield from table.to_batches() or [_empty(table.schema)]

    def _nothing(self, columns: Sequence[str]) -> pa.RecordBatch:
        import pyarrow as pa

        kinds = {self.spec.time_column: pa.timestamp("us", tz="UTC")}
        return _empty(pa.schema([(name, kinds.get(name, pa.null())) for name in columns]))


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    import pyarrow as pa

    return pa.RecordBatch.from_pylist([], schema=schema)
