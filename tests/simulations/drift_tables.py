"""Reference and window of the drift benchmark: twelve numbers and eight categories of many shapes, as Parquet."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

NUMERIC = [f"n{i}" for i in range(12)]
CATEGORICAL = [f"c{i}" for i in range(8)]
_SIZES = (2, 3, 5, 10, 20, 50, 200, 1000)
_CHUNK = 500_000
_DAY = 86_400_000_000


def write_rows(file: Path, rows: int, seed: int, shift: float = 0.0) -> None:
    """Write rows of eight weeks, the same for the same arguments; a shift moves every fourth column."""
    generator = np.random.default_rng(seed)
    writer: pq.ParquetWriter | None = None
    for start in range(0, rows, _CHUNK):
        count = min(_CHUNK, rows - start)
        columns = dict(_columns(generator, count, shift))
        days = np.arange(start, start + count) * (56 * _DAY / rows)
        columns["at"] = pa.array(days.astype("int64"), pa.timestamp("us", "UTC"))
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(file, table.schema, compression="zstd", store_schema=False)
        writer.write_table(table, row_group_size=100_000)
    if writer is not None:
        writer.close()


def write_spec(file: Path) -> None:
    """Write the spec of a model that has these features."""
    spec = {
        "name": "bench",
        "source": {"path": "unused.parquet"},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "label"},
        "features": {"numeric": NUMERIC, "categorical": CATEGORICAL},
        "candidates": [{"name": "logistic", "estimator": "sklearn.linear_model.LogisticRegression"}],
    }
    file.write_text(yaml.safe_dump(spec))


def _columns(generator: np.random.Generator, rows: int, shift: float) -> Iterator[tuple[str, pa.Array]]:
    for place, name in enumerate(NUMERIC):
        values = generator.normal(size=rows) + (shift if place % 4 == 0 else 0.0)
        if place % 4 == 1:
            values = np.exp(values)  # a heavy tail
        elif place % 4 == 2:
            values = np.where(generator.random(rows) < 0.4, 0.0, np.abs(values))  # many zeros
        elif place % 4 == 3:
            values = np.round(values * 10)  # whole numbers
        yield name, pa.array(values, mask=generator.random(rows) < 0.01)
    for place, (name, size) in enumerate(zip(CATEGORICAL, _SIZES, strict=True)):
        shares = 1 / np.arange(1.0, size + 1)
        if place % 4 == 0:
            shares[0] *= 1 + shift
        codes = generator.choice(size, rows, p=shares / shares.sum()).astype("int32")
        names = [f"{name}_{value}" for value in range(size)]
        yield name, pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names)).cast(pa.string())
