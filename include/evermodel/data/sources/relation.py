"""The interface of source kinds to the engine, and their shared errors."""

from __future__ import annotations

import difflib
import importlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from evermodel.core.atomic import no_space
from evermodel.core.errors import EvermodelError, LakeFullError, SourceError, SourceUnavailableError
from evermodel.spec import ModelSpec
from evermodel.spec.source import BaseSource
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa


Source = TypeVar("Source", bound=BaseSource)
# By name, so that no driver has to be imported: of DB-API, SQLAlchemy, Python's sockets and files.
MAY_PASS = {"OperationalError", "InterfaceError", "DisconnectionError", "OSError"}


@dataclass(frozen=True)
class Arrival:
    """What a source holds for a window.

    Parameters
    ----------
    newest
        Newest event, of those that are not in the future.
    future
        Rows whose time lies more than a day ahead of the clock: no event can be known so early.
    """

    rows: int
    newest: datetime | None
    future: int = 0


class Relation(Generic[Source]):
    """One kind of source, opened for one model; this base reads what `_batches` gives."""

    advice = "check the source"

    def __init__(self, spec: ModelSpec, source: Source) -> None:
        self.spec = spec
        self.source = source

    def open(self, duck: duckdb.DuckDBPyConnection, window: Window, columns: Sequence[str]) -> Stream | None:
        """Make the relation `rows`, with at least these columns and at least the window's rows."""
        batches = self._batches(window, columns)
        first = next(batches)
        stream = Stream(first.schema, chain([first], batches))
        duck.register("rows", stream.reader())
        return stream

    def arrival(self, window: Window, now: datetime) -> Arrival | None:
        """Ask the engine of the source what has arrived; None if it can only be read."""
        return None

    def unreadable(self, error: Exception) -> EvermodelError:
        """Return the error of the source for an error of its engine; a lost connection is transient."""
        return trouble(self.spec, error, self.advice)

    def _batches(self, window: Window, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Give the rows; the first batch, perhaps empty, is always there and has everyone's types."""
        raise NotImplementedError


class Stream:
    """Record batches on their way into the engine; keeps the error that broke them off.

    Parameters
    ----------
    schema
        Of every batch.
    batches
        Read once.
    """

    def __init__(self, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> None:
        self.schema = schema
        self.error: Exception | None = None
        self._batches = batches

    def reader(self) -> pa.RecordBatchReader:
        """Return the reader that the engine scans."""
        import pyarrow as pa

        return pa.RecordBatchReader.from_batches(self.schema, self._guarded())

    def _guarded(self) -> Iterator[pa.RecordBatch]:
        try:
            for batch in self._batches:
                yield batch if batch.schema == self.schema else _cast(batch, self.schema)
        except Exception as error:
            self.error = error
            raise


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """Bring a batch into the first one's types; raise if a value has no place there."""
    import pyarrow as pa

    if set(batch.schema.names) != set(schema.names):
        raise SourceError(
            f"one batch has the columns {', '.join(batch.schema.names)}, the first has {', '.join(schema.names)}",
            "return the same columns for every interval",
        )
    columns = []
    for field in schema:
        try:
            columns.append(batch.column(field.name).cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SourceError(
                f"column {field.name} changes its type between batches, from {field.type} to "
                f"{batch.schema.field(field.name).type}: {error}",
                "cast the column to one type in the source",
            ) from error
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def require_columns(spec: ModelSpec, present: Sequence[str], wanted: Iterable[str]) -> None:
    """Raise `SourceError` unless each wanted column is there exactly once."""
    where = f"model {spec.name}: {spec.source.told}"
    counts = Counter(name.casefold() for name in present)
    twice = [name for name in wanted if counts[name.casefold()] > 1]
    if twice:
        raise SourceError(
            f"{where} has several columns named {', '.join(twice)} (case is ignored)",
            "rename or remove all but one",
        )
    missing = [name for name in wanted if name not in present]
    if not missing:
        return
    hints = {name: difflib.get_close_matches(name, present, n=1) for name in missing}
    named = ", ".join(f"{name} (did you mean {near[0]}?)" if near else name for name, near in hints.items())
    raise SourceError(
        f"{where} lacks the columns {named}",
        f"it has: {', '.join(present)}; correct the spec or the source query",
    )


def imported(spec: ModelSpec, path: str, field: str) -> Callable[..., Any]:
    """Import a ``module:function`` of a spec.

    Raises
    ------
    SourceError
        There is no such module or function.
    """
    module, _, name = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SourceError(
            f"model {spec.name}: `{field}: {path}` cannot be imported: {error}",
            "install the module, or put it on PYTHONPATH, wherever Airflow's tasks run",
        ) from error
    if not callable(found):
        raise SourceError(
            f"model {spec.name}: `{field}: {path}` is not a function", "set it to `module:function`"
        )
    function: Callable[..., Any] = found
    return function


def steps(window: Window, step: Any) -> Iterator[Window]:
    """Cut a window into parts of a length; without one it stays whole."""
    start = window.start
    while step is not None and start + step < window.end:
        yield Window(start, start + step)
        start += step
    yield Window(start, window.end)


def trouble(spec: ModelSpec, error: Exception, advice: str) -> EvermodelError:
    """Turn an error of a source's engine or driver into one with advice.

    Errors that may pass, such as a lost connection, become transient.
    """
    if isinstance(error, EvermodelError):
        return error
    if no_space(error):
        return LakeFullError(
            f"model {spec.name}: {first_line(error)}", "free some space, then run this again"
        )
    said = f"model {spec.name}: {spec.source.told} cannot be read: {spec.source.hide(first_line(error))}"
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & MAY_PASS and "sqlite3" not in str(error):
        return SourceUnavailableError(
            said, "check that it is up and reachable from here; the read is retried"
        )
    return SourceError(said, advice)


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its name if there is none."""
    if isinstance(error, EvermodelError):
        return error.problem
    return without_class(next(iter(str(error).strip().splitlines()), type(error).__name__))


def without_class(message: str) -> str:
    """Return an engine's message without the name of its error's class.

    >>> without_class("Invalid Input Error: no such thing")
    'no such thing'
    """
    return re.sub(r"^[A-Z]\w*(?: \w+)* Error: (?=.)", "", message)
