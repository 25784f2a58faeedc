"""What engines spell differently: microseconds of a time, and an order of all values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evermodel.core.errors import SpecError


@dataclass(frozen=True)
class Dialect:
    """One engine's spelling."""

    name: str

    @classmethod
    def named(cls, name: str, model: str) -> Dialect:
        """Return the dialect of an engine, by Ibis's name.

        Raises
        ------
        SpecError
            Aggregates are not compiled for it.
        """
        if name not in _MICROS:
            raise SpecError(
                f"model {model}: `features.aggregates` cannot be computed by {name}",
                "use DuckDB, PostgreSQL or Spark, or compute these features in the source's query",
            )
        return cls(name)

    def micros(self, time: Any) -> Any:
        """Return the microseconds since 1970 of a time, or of a text or date that is one; without a zone it is UTC."""
        if not time.type().is_timestamp():
            time = time.cast("timestamp")
        return _MICROS[self.name](time)

    def order(self, events: Any, names: Sequence[str]) -> list[Any]:
        """Return an order by columns that is the same in each engine: missing first, text by its bytes."""
        return [self._place(events[name]).asc(nulls_first=True) for name in names]

    def _place(self, column: Any) -> Any:
        if self.name == "postgres" and column.type().is_string():
            return _builtin("convert_to", ["string", "string"], "binary")(column, "UTF8")
        return column


def _builtin(name: str, takes: Sequence[Any], gives: str) -> Callable[..., Any]:
    import ibis

    def of_one(value: Any) -> Any: ...

    def of_two(first: Any, second: Any) -> Any: ...

    function = of_one if len(takes) == 1 else of_two
    made: Callable[..., Any] = ibis.udf.scalar.builtin(function, name=name, signature=(tuple(takes), gives))
    return made


def _duckdb(time: Any) -> Any:
    return _builtin("epoch_us", [time.type()], "int64")(time)


def _postgres(time: Any) -> Any:
    # A double has room for the microseconds of the next centuries; what is not whole is its last bit.
    seconds = _builtin("date_part", ["string", time.type()], "float64")("epoch", time)
    return (seconds * 1_000_000).round().cast("int64")


def _spark(time: Any) -> Any:
    return _builtin("unix_micros", ["timestamp('UTC')"], "int64")(time.cast("timestamp('UTC')"))


_MICROS: dict[str, Callable[[Any], Any]] = {"duckdb": _duckdb, "postgres": _postgres, "pyspark": _spark}
