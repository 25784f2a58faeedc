"""A window whose columns Spark's workers read and count: each file by one task; the counts add up without error."""

from __future__ import annotations

import json
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.monitoring.drift.profile import is_answer
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.rows import LogRows, ParquetRows
from evermodel.stats.sample import Array, CategoricalSample, NumericSample, Sample, between, marks
from evermodel.stats.spilled import SpilledSample

if TYPE_CHECKING:
    import pyarrow as pa

_MARKS = 256  # of each sorted run
_RUNS = "rows bigint, nulls bigint, known bigint, note string, marks binary, picked binary, values binary"

Work = Callable[[ExactRows], Iterable[Mapping[str, Any]]]


@dataclass
class SparkRows(ExactRows):
    """Rows of the prediction log; of a column this process gets counts, and the rows of the seeded sample.

    Parameters
    ----------
    table
        A log of files.
    session
        Spark's session; its workers have this package and read the files.
    """

    session: Any = None

    def sample(self, name: str) -> Sample:
        """Return one column; its values stay with Spark."""
        if name not in self.numeric:
            return self._categories(name)
        runs = self._each(partial(_sorted_runs, name), _RUNS).persist()
        some = runs.drop("values").collect()
        self._note(name, some)
        if not is_answer(name) and name not in self._joint:
            self._joint[name] = np.concatenate([np.frombuffer(run["picked"]) for run in some])
        known, rows = (float(sum(run[part] for run in some)) for part in ("known", "rows"))
        found = np.concatenate([np.empty(0), *(np.frombuffer(run["marks"]) for run in some)])
        return SparkSample(runs, known, rows - known, found)

    def picked(self, name: str, *, as_it_is: bool = False) -> list[pa.Array[Any]]:
        """Return one column of the seeded sample of rows; see `ExactRows.picked`."""
        work = partial(_picked, name, as_it_is)
        parts = self._each(work, "place bigint, rows binary").orderBy("place").collect()
        return [piece for part in parts for piece in _from_ipc(part["rows"])]

    def _categories(self, name: str) -> CategoricalSample:
        some = self._each(
            partial(_counted, name), "rows bigint, nulls bigint, note string, counts string"
        ).collect()
        self._note(name, some)
        counts: dict[str, float] = {}
        for part in some:
            for category, count in json.loads(part["counts"]).items():
                counts[category] = counts.get(category, 0) + count
        return CategoricalSample(counts, float(sum(part["rows"] for part in some) - sum(counts.values())))

    def _note(self, name: str, some: list[Any]) -> None:
        for part in some:
            if part["note"]:
                self._notes.setdefault(name, part["note"])
        self._log.note_nulls(name, sum(part["nulls"] for part in some))

    @property
    def _log(self) -> ParquetRows:
        assert isinstance(self.table, LogRows)
        assert isinstance(self.table.rows, ParquetRows)
        return self.table.rows

    @cached_property
    def _parts(self) -> list[ExactRows]:
        """The rows of each file, with their part of the seeded sample."""
        assert isinstance(self.table, LogRows)
        found, start = [], 0
        for file, rows in zip(self._log.files, self._log.rows_by_file, strict=True):
            alone = ParquetRows([file], self._log.window, self._log.time_column, self._log.schema)
            part = ExactRows(replace(self.table, rows=alone), self.numeric, self.time_column, self.seed)
            if self.places is not None:
                first, last = np.searchsorted(self.places, [start, start + rows])
                part.places = self.places[first:last] - start
            found.append(part)
            start += rows
        return found

    def _each(self, work: Work, schema: str) -> Any:
        """Have each file worked on by one task."""
        parts, names = self._parts, [column.split()[0] for column in schema.split(", ")]

        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow as pa

            places: list[Any] = [place for batch in batches for place in batch.column(0).to_pylist()]
            for place in places:
                for row in work(parts[place]):
                    whole = {"place": place, **row}  # Spark takes columns by their order
                    yield pa.RecordBatch.from_pylist([{name: whole[name] for name in names}])

        return self.session.range(0, len(parts), 1, max(1, len(parts))).mapInArrow(run, schema)


class SparkSample(SpilledSample):
    """The values of a numeric column, as sorted runs that Spark keeps for as long as they are asked."""

    def __init__(self, frame: Any, known: float, missing: float, found: Array) -> None:
        super().__init__([], missing)
        for name, value in {"_frame": frame, "_known": known, "marks": found, "_asked": {}}.items():
            self.__dict__[name] = value
        weakref.finalize(self, frame.unpersist).atexit = False  # the session may be gone by then

    _frame: Any
    _known: float
    _asked: dict[bytes, tuple[Array, Array]]

    @property
    def known(self) -> float:
        """Rows with a value."""
        return self._known

    @property
    def runs(self) -> list[Array]:
        """The values, in parts that are sorted each: for methods that need them at once."""
        return [np.frombuffer(row["values"]) for row in self._frame.select("values").collect()]

    def below(self, values: Array) -> Array:
        """Count the rows below each of some values."""
        return self._ask(values)[0]

    def up_to(self, values: Array) -> Array:
        """Count the rows up to and including each of some values."""
        return self._ask(values)[1]

    def between(self, lows: Array, highs: Array) -> Array:
        """Return the values that are inside some intervals, both ends excluded."""
        found = self._over_runs(lambda run: between(run, lows, highs))
        return np.concatenate([np.empty(0), *found])

    def _ask(self, values: Array) -> tuple[Array, Array]:
        """Count once for both, and for good: each time is a job of Spark's."""
        key = values.tobytes()
        if key not in self._asked:
            found = self._over_runs(
                lambda run: np.concatenate(
                    [np.searchsorted(run, values, "left"), np.searchsorted(run, values, "right")]
                ).astype(np.float64)
            )
            below, up_to = np.split(np.sum([np.zeros(2 * len(values)), *found], axis=0), 2)
            self._asked[key] = below, up_to
        return self._asked[key]

    def _over_runs(self, work: Callable[[Array], Array]) -> list[Array]:
        def run(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            import pyarrow as pa

            for batch in batches:
                for values in batch.column(0):
                    found = work(np.frombuffer(values.as_py()))
                    yield pa.RecordBatch.from_pylist([{"found": found.tobytes()}])

        rows = self._frame.select("values").mapInArrow(run, "found binary").collect()
        return [np.frombuffer(row["found"]) for row in rows]


def _sorted_runs(name: str, part: ExactRows) -> Iterator[dict[str, Any]]:
    if is_answer(name) and not part.has(name):
        return  # of a version that this file does not have
    sample = part.sample(name)
    assert isinstance(sample, NumericSample)
    first = {"rows": round(sample.rows), "note": part.note(name), "nulls": _nulls(part, name)}
    picked = b"" if is_answer(name) else part.joint([name])[:, 0].tobytes()
    for place, run in enumerate(sample.runs or [np.empty(0)]):
        counts = first if place == 0 else {"rows": 0, "note": "", "nulls": 0}
        some = picked if place == 0 else b""
        content = {"marks": marks(run, _MARKS).tobytes(), "picked": some, "values": run.tobytes()}
        yield {**counts, "known": len(run), **content}


def _counted(name: str, part: ExactRows) -> Iterator[dict[str, Any]]:
    if is_answer(name) and not part.has(name):
        return
    sample = part.sample(name)
    assert isinstance(sample, CategoricalSample)
    counts = json.dumps(dict(sample.counts))
    yield {"rows": round(sample.rows), "nulls": _nulls(part, name), "note": part.note(name), "counts": counts}


def _picked(name: str, as_it_is: bool, part: ExactRows) -> Iterator[dict[str, Any]]:
    yield {"rows": _to_ipc(part.picked(name, as_it_is=as_it_is))}


def _nulls(part: ExactRows, name: str) -> int:
    assert isinstance(part.table, LogRows)
    assert isinstance(part.table.rows, ParquetRows)
    return part.table.rows.null_count(name) or 0


def _to_ipc(some: list[pa.Array[Any]]) -> bytes:
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    batches = [pa.record_batch({"value": _plain(piece)}) for piece in some]
    if batches:
        with pa.ipc.new_stream(sink, batches[0].schema) as writer:
            for batch in batches:
                writer.write_batch(batch)
    return sink.getvalue().to_pybytes()


def _plain(piece: pa.Array[Any]) -> pa.Array[Any]:
    import pyarrow as pa

    return piece.cast(piece.type.value_type) if pa.types.is_dictionary(piece.type) else piece


def _from_ipc(content: bytes) -> list[pa.Array[Any]]:
    import pyarrow as pa

    return pa.ipc.open_stream(content).read_all()["value"].chunks if content else []
