"""A numeric column of any number of rows: sorted runs in a temporary file, of which a few pages are read."""

from __future__ import annotations

import mmap
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import chain
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.atomic import no_space
from evermodel.core.errors import LakeFullError
from evermodel.stats.sample import Array, NumericSample, between, distinct, marks, smallest

if TYPE_CHECKING:
    import pyarrow as pa

RUN_ROWS = 2**20  # a column of fewer rows stays in memory
_MARKS = 1024
_AT_ONCE = 512


class SpilledSample(NumericSample):
    """The values of a numeric column, as sorted runs in a file that goes with it.

    What it counts are sums of what its runs count, so that it answers exactly as the whole column in memory would.
    """

    def __init__(self, runs: list[_Run], missing: float) -> None:
        for name, value in {"_spilled": runs, "weights": None, "missing": missing}.items():
            object.__setattr__(self, name, value)

    _spilled: list[_Run]

    @property
    def values(self) -> Array:  # type: ignore[override]
        """All of the values, in memory: for methods that need them at once."""
        return np.sort(np.concatenate(self.runs))

    @property
    def runs(self) -> list[Array]:
        """The values, in parts that are sorted each."""
        return [run.values for run in self._spilled]

    @property
    def known(self) -> float:
        """Rows with a value."""
        return float(sum(run.rows for run in self._spilled))

    def below(self, values: Array) -> Array:
        """Count the rows below each of some values."""
        return self._counted(values, "left")

    def up_to(self, values: Array) -> Array:
        """Count the rows up to and including each of some values."""
        return self._counted(values, "right")

    def at(self, places: NDArray[np.intp]) -> Array:
        """Return the values at some places of the ascending order."""
        parts = np.array_split(places, max(1, len(places) // _AT_ONCE))
        return np.concatenate([smallest([self], part.astype(np.float64) + 1) for part in parts])

    def distinct(self, most: int) -> tuple[Array, Array] | None:
        """Return the distinct values and their rows; None if there are more than so many."""
        found: dict[float, float] = {}
        for run in self._spilled:
            some = distinct(run.values, most)
            if some is None or len(found) > most:
                return None
            for value, rows in zip(*(side.tolist() for side in some), strict=True):
                found[value] = found.get(value, 0.0) + rows
        values = np.array(sorted(found))
        return None if len(found) > most else (values, np.array([found[value] for value in values.tolist()]))

    @cached_property
    def marks(self) -> Array:
        """Some of the values; see `NumericSample.marks`."""
        return np.concatenate([run.marks for run in self._spilled])

    def between(self, lows: Array, highs: Array) -> Array:
        """Return the values that are inside some intervals, both ends excluded."""
        return np.concatenate([between(run.values, lows, highs) for run in self._spilled])

    def _counted(self, values: Array, side: Any) -> Array:
        found: Array = np.sum(
            [np.searchsorted(run.values, values, side=side) for run in self._spilled], axis=0
        )
        return found.astype(np.float64)


class _Run:
    """Sorted values, in a part of a file."""

    def __init__(self, values: Array, file: IO[bytes]) -> None:
        self._file, self.rows, self.marks = file, len(values), marks(values, _MARKS)
        end = file.seek(0, 2)
        self._start = file.seek(end + -end % mmap.ALLOCATIONGRANULARITY)
        try:
            file.write(values.data)
            file.flush()
        except OSError as error:
            if not no_space(error):
                raise
            raise LakeFullError(
                f"no space is left in {tempfile.gettempdir()} for a sorted column",
                "free some space there or set TMPDIR to another folder, then run this again",
            ) from error

    @property
    def values(self) -> Array:
        """The values, mapped for as long as they are used: pages that stay mapped count as memory."""
        size = 8 * self.rows
        place = mmap.mmap(self._file.fileno(), size, access=mmap.ACCESS_READ, offset=self._start)
        return np.frombuffer(place, np.float64)


def numbers(pieces: Iterable[pa.Array[Any]]) -> NumericSample:
    """Take a numeric column (booleans and dates count as numbers) from Arrow, piece by piece.

    Raises
    ------
    LakeFullError
        There is no room for the temporary file of a large column.
    """
    rows = 0

    def known() -> Iterator[Array]:
        nonlocal rows
        for piece in pieces:
            rows += len(piece)
            yield _known(piece)

    runs = _sorted_runs(known())
    first, second = next(runs, np.empty(0)), next(runs, None)
    if second is None:
        return NumericSample(first, missing=float(rows - len(first)))
    file = tempfile.TemporaryFile(prefix="evermodel-column-")  # noqa: SIM115  # it goes with the sample
    spilled = [_Run(run, file) for run in chain([first, second], runs) if len(run)]
    sample = SpilledSample(spilled, float(rows - sum(run.rows for run in spilled)))
    weakref.finalize(sample, file.close)
    return sample


def _known(piece: pa.Array[Any]) -> Array:
    import pyarrow as pa

    found = piece.cast(pa.float64()).drop_null()
    # Not by Arrow's to_numpy, which would import pandas.
    return np.asarray(np.from_dlpack(found), dtype=np.float64) if len(found) else np.empty(0)


def _sorted_runs(parts: Iterable[Array]) -> Iterator[Array]:
    """Join values until they make a run, and sort them; not-a-number is left out."""
    kept: list[Array] = []
    count = 0
    for whole in parts:
        for start in range(0, len(whole), RUN_ROWS):
            part = whole[start : start + RUN_ROWS]
            if count + len(part) > RUN_ROWS:
                yield _sorted(kept)
                kept, count = [], 0
            kept.append(part)
            count += len(part)
    if kept:
        yield _sorted(kept)


def _sorted(parts: list[Array]) -> Array:
    found = np.concatenate(parts)
    found.sort()
    return found[: np.searchsorted(found, np.nan)]  # not-a-number comes last
