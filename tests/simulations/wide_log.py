"""A prediction log of many columns, some with a common cause and a few that drift on its last day."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import yaml

from evermodel.data.prediction_log import log_schema, write_days
from evermodel.spec import ModelSpec, load_spec

_FIRST = date(2026, 1, 5)
_CHUNK = 50_000
_NAMES = pa.array([f"value {number}" for number in range(30)])

# Arguments of both: the spec, the lake, and moments in ISO 8601.
PROFILE = """
import sys
from pathlib import Path
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.spec import load_spec
from evermodel.spec.window import Window, parse_moment
spec = load_spec(sys.argv[1])
profiles = Profiles(spec, Path(sys.argv[2]))
for day in Window(*map(parse_moment, sys.argv[3:5])).days():
    assert profiles.day(day) is not None
"""
JUDGE = """
import sys
from pathlib import Path
import pyarrow as pa
from evermodel.data.prediction_log import files_of, log_schema
from evermodel.monitoring.drift.judge import judge_window
from evermodel.monitoring.drift.profiles import Profiles
from evermodel.monitoring.drift.references import References
from evermodel.monitoring.drift.rows import ParquetRows
from evermodel.spec import load_spec
from evermodel.spec.window import Window, parse_moment
spec, lake = load_spec(sys.argv[1]), Path(sys.argv[2])
first, start, end = map(parse_moment, sys.argv[3:6])
window = Window(start, end)
rows = ParquetRows(files_of(spec, lake, window), window, "event_time", log_schema(spec))
references = References(spec, window, "1", pa.table({}), Window(first, start), Profiles(spec, lake))
columns = judge_window(spec, references, rows)
print(len({c.column for c in columns if c.severity != "none"}), "columns")
"""


@dataclass(frozen=True)
class WideLog:
    """A log whose last day has more rows than the days before it.

    Parameters
    ----------
    rows, columns
        Of the last day. Every tenth column is a category; a numeric one shares a cause with nine others.
    days
        Days before it, each with a twentieth of the rows.
    """

    folder: Path
    rows: int
    columns: int
    days: int = 10

    @property
    def spec_file(self) -> Path:
        """The model's spec."""
        return self.folder / "wide.yaml"

    @property
    def lake(self) -> Path:
        """Root of the lake."""
        return self.folder / "lake"

    @property
    def moments(self) -> list[str]:
        """Start of the first day, and start and end of the last one."""
        ends = (_FIRST, self._last, self._last + timedelta(days=1))
        return [datetime(day.year, day.month, day.day, tzinfo=UTC).isoformat() for day in ends]

    @property
    def moved(self) -> list[str]:
        """The columns that drift on the last day."""
        return [f"n{number}" for number in range(0, self.columns, 100)]

    @property
    def _last(self) -> date:
        return _FIRST + timedelta(days=self.days)

    def write(self) -> ModelSpec:
        """Write spec and log."""
        self.folder.mkdir(parents=True, exist_ok=True)
        places = range(self.columns)
        spec = {
            "name": "wide",
            "source": {"path": "unused.parquet"},
            "time_column": "at",
            "id_column": "id",
            "label": {"column": "label"},
            "features": {
                "numeric": [f"n{number}" for number in places if number % 10 < 9],
                "categorical": [f"c{number}" for number in places if number % 10 == 9],
            },
            "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
            "drift": {"window": "1d", "reference": {"kind": "trailing", "span": f"{self.days}d"}},
        }
        self.spec_file.write_text(yaml.safe_dump(spec))
        loaded = load_spec(self.spec_file)
        days = [(_FIRST + timedelta(days=day), self.rows // 20) for day in range(self.days)]
        for day, rows in [*days, (self._last, self.rows)]:
            write_days(loaded, self.lake, [(day, self._tables(log_schema(loaded), day, rows))])
        return loaded

    def _tables(self, schema: pa.Schema, day: date, rows: int) -> Iterator[pa.Table]:
        generator = np.random.default_rng(day.toordinal())
        for start in range(0, rows, _CHUNK):
            count = min(_CHUNK, rows - start)
            found = dict(self._features(generator, count, moved=day == self._last))
            seconds = (start + np.arange(count)) * (86_400_000_000 // rows)
            begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
            found["event_time"] = pa.array(begin + seconds, pa.timestamp("us", "UTC"))
            found["score"] = pa.array(generator.random(count))
            found["prediction_id"] = pa.array(np.arange(start, start + count)).cast(pa.string())
            found["model_version"] = pa.array(["1"] * count)
            yield pa.table([found.get(f.name, pa.nulls(count, f.type)) for f in schema], schema=schema)

    def _features(
        self, generator: np.random.Generator, rows: int, moved: bool
    ) -> Iterator[tuple[str, pa.Array]]:
        cause, pool = np.empty(0), generator.standard_normal((16, rows))
        for place in range(self.columns):
            if place % 10 == 9:
                codes = pa.array((generator.random(rows) ** 2 * len(_NAMES)).astype(np.int32))
                yield f"c{place}", pa.DictionaryArray.from_arrays(codes, _NAMES).cast(pa.string())
                continue
            if place % 10 == 0:
                cause = generator.standard_normal(rows)
            # Rows of a few columns, moved by some places, are new ones: to draw them takes longer than to judge them.
            values = 0.6 * cause + 0.8 * np.roll(pool[place % len(pool)], int(generator.integers(rows)))
            values = np.round(values * 10) if place % 3 == 0 else np.exp(values) if place % 3 == 1 else values
            name = f"n{place}"
            if moved and name in self.moved:
                values = values * 2 + 20
            gaps = np.zeros(rows, dtype=bool)
            gaps[: rows // 100] = place % 2 == 0
            yield name, pa.array(values, mask=gaps)
