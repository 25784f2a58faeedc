"""Plain Parquet files are read without an engine, and give what the engine gives; everything else is left to it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evermodel.core.errors import SourceError
from evermodel.data.sources import plain, reading, stream_window
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from support.small_model import between, moment, small_rows, small_spec, write_rows

COLUMNS = ["id", "at", "temp", "wind", "carrier"]


def rows_of(spec: ModelSpec, window: Window, batch_rows: int = 5) -> pa.Table:
    """Read without order, and bring into the order of the ids."""
    with stream_window(spec, window, with_label=False, in_order=False, batch_rows=batch_rows) as rows:
        table = pa.Table.from_batches(rows, schema=rows.schema)
    kinds = [
        pa.field(field.name, pa.string()) if pa.types.is_dictionary(field.type) else field
        for field in table.schema
    ]
    return table.cast(pa.schema(kinds)).sort_by([("id", "ascending")])


def is_plain(spec: ModelSpec) -> bool:
    return plain.plain_rows(spec, between(0, 1), COLUMNS, 5) is not None


def by_engine(spec: ModelSpec, window: Window, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    with monkeypatch.context() as patch:
        patch.setattr(reading, "plain_rows", lambda *_: None)
        return rows_of(spec, window)


NUMBERS: list[Any] = [
    st.floats(width=64),
    st.floats(width=64, allow_nan=False),
    st.integers(-(2**31), 2**31 - 1),
    st.booleans(),
]
TEXTS = st.one_of(
    st.none(), st.sampled_from(["AA", "BB", "", "Ü"]), st.text(st.characters(codec="utf-8"), max_size=4)
)


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_the_rows_are_those_of_the_engine(
    data: st.DataObject, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = data.draw(st.integers(0, 40))
    number = data.draw(st.sampled_from(NUMBERS))
    text = data.draw(st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int8(), pa.string())]))
    days = data.draw(st.lists(st.one_of(st.none(), st.integers(0, 9 * 24)), min_size=count, max_size=count))
    unit, zone = data.draw(st.sampled_from([("us", "UTC"), ("ms", "UTC"), ("us", "Europe/Berlin")]))
    texts = data.draw(st.lists(TEXTS, min_size=count, max_size=count))
    table = pa.table(
        {
            "carrier": pa.array(texts, pa.string()).cast(text),
            "temp": data.draw(st.lists(st.one_of(st.none(), number), min_size=count, max_size=count)),
            "note": ["not read"] * count,
            "at": pa.array([None if d is None else moment(d / 24) for d in days], pa.timestamp(unit, zone)),
            "id": pa.array([f"r{n:02d}" for n in range(count)], pa.string()),
            "wind": pa.array(range(count), pa.int16()),
        }
    )
    if table.schema.field("temp").type == pa.null():
        table = table.set_column(1, "temp", pa.nulls(count, pa.float64()))
    statistics = data.draw(st.booleans())
    pq.write_table(table, tmp_path / "rows.parquet", row_group_size=7, write_statistics=statistics)
    spec = small_spec(tmp_path / "rows.parquet")
    start = data.draw(st.integers(0, 8))
    window = between(start, start + data.draw(st.integers(1, 9)))

    found = rows_of(spec, window)

    assert is_plain(spec)
    wanted = by_engine(spec, window, monkeypatch)
    assert found.schema == wanted.schema
    assert [[None if v is None else repr(v) for v in column.to_pylist()] for column in found.columns] == [
        [None if v is None else repr(v) for v in column.to_pylist()] for column in wanted.columns
    ]


def test_several_files_are_read_whatever_the_order_of_their_columns(tmp_path: Path) -> None:
    whole = small_rows()
    write_rows(tmp_path / "a.parquet", whole.slice(0, 30))
    write_rows(tmp_path / "b.parquet", whole.slice(30).select(whole.column_names[::-1]))
    spec = small_spec(tmp_path / "*.parquet")

    assert is_plain(spec)
    assert rows_of(spec, between(0, 10)) == whole.select(COLUMNS)
    assert rows_of(spec, between(3, 4))["id"].to_pylist() == [f"r{n:05d}" for n in range(24, 32)]


def as_decimal(table: pa.Table) -> pa.Table:
    return table.set_column(2, "temp", table["temp"].cast(pa.decimal128(10, 2)))


def retyped(name: str, kind: pa.DataType) -> Any:
    return lambda table: table.set_column(
        table.column_names.index(name), name, table[name].cast(kind, safe=False)
    )


LEFT: dict[str, Any] = {
    "a decimal": as_decimal,
    "a time without a zone": retyped("at", pa.timestamp("us")),
    "nanoseconds": retyped("at", pa.timestamp("ns", "UTC")),
    "a date": retyped("at", pa.date32()),
    "bytes": retyped("carrier", pa.binary()),
}


@pytest.mark.parametrize("change", LEFT.values(), ids=list(LEFT))
def test_what_is_not_plain_is_left_to_the_engine(change: Any, tmp_path: Path) -> None:
    spec = small_spec(write_rows(tmp_path / "rows.parquet", change(small_rows())))

    assert not is_plain(spec)
    assert rows_of(spec, between(0, 10)).num_rows == 80


def test_a_query_another_format_and_a_column_of_the_path_are_left_to_the_engine(tmp_path: Path) -> None:
    file = write_rows(tmp_path / "rows.parquet")
    assert not is_plain(small_spec(file, source={"path": str(file), "query": "SELECT * FROM source"}))
    assert not is_plain(small_spec(write_rows(tmp_path / "rows.parq.old")))
    assert not is_plain(small_spec(f"file://{file}"))
    assert not is_plain(small_spec(tmp_path / "**" / "*.parquet"))
    folder = tmp_path / "carrier=ZZ"
    folder.mkdir()
    spec = small_spec(write_rows(folder / "rows.parquet"))
    assert not is_plain(spec)
    assert set(rows_of(spec, between(0, 10))["carrier"].to_pylist()) == {"ZZ"}


def test_files_of_different_types_are_left_to_the_engine(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet")
    write_rows(tmp_path / "b.parquet", retyped("wind", pa.float64())(small_rows()))
    assert not is_plain(small_spec(tmp_path / "*.parquet"))


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (small_rows(wind=None), "lacks the columns wind"),
        (small_rows(TEMP=[1.0] * 80), "several columns named temp"),
    ],
)
def test_the_engine_tells_what_is_wrong_with_the_columns(rows: pa.Table, said: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=said):
        rows_of(small_spec(write_rows(tmp_path / "rows.parquet", rows)), between(0, 10))


def test_a_file_that_is_not_there_is_told_by_the_engine(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"nowhere.parquet does not exist"):
        rows_of(small_spec(tmp_path / "nowhere.parquet"), between(0, 10))


@pytest.mark.parametrize("column", ["id", "carrier"])
def test_bytes_that_are_no_text_are_a_source_error(column: str, tmp_path: Path) -> None:
    rows = small_rows()
    bad = pa.array([b"\xff\xfe"] * 80, pa.binary())
    text = pa.StringArray.from_buffers(80, bad.buffers()[1], bad.buffers()[2])
    spec = small_spec(
        write_rows(tmp_path / "rows.parquet", rows.set_column(rows.column_names.index(column), column, text))
    )

    assert is_plain(spec)
    with pytest.raises(SourceError, match="cannot be read") as caught:
        rows_of(spec, between(0, 10))
    assert f"column {column} contains bytes that are not UTF-8 text" in caught.value.problem


def test_a_page_that_is_broken_is_a_source_error_that_names_the_file(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(small_rows(days=100), file, compression="zstd", use_dictionary=False)
    place = pq.read_metadata(file).row_group(0).column(2).data_page_offset
    content = bytearray(file.read_bytes())
    content[place + 30 : place + 60] = bytes(30)
    file.write_bytes(content)
    write_rows(tmp_path / "a.parquet")

    for path in (file, tmp_path / "*.parquet"):
        assert is_plain(small_spec(path))
        with pytest.raises(SourceError) as caught:
            rows_of(small_spec(path), between(0, 100))
        assert str(file) in caught.value.problem


def test_row_groups_outside_the_window_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(small_rows(), file, row_group_size=8)
    asked: list[int] = []
    read = pq.ParquetFile.iter_batches

    def counted(self: Any, *given: Any, row_groups: list[int], **more: Any) -> Any:
        asked.extend(row_groups)
        return read(self, *given, row_groups=row_groups, **more)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", counted)

    assert rows_of(small_spec(file), Window(moment(3), moment(4.5))).num_rows == 12
    assert asked == [3, 4]
