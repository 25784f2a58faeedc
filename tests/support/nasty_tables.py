"""Tables as companies have them: every generator writes one file that a naive reader gets wrong."""

from __future__ import annotations

import csv
import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

ROWS = 2000
START = datetime(2025, 1, 1, tzinfo=UTC)
Columns = dict[str, Sequence[Any]]


def moments(step: timedelta = timedelta(hours=2.25)) -> list[datetime]:
    """2,000 events over half a year."""
    return [START + n * step for n in range(ROWS)]


def facts(seed: int = 0) -> Columns:
    """A number and a category that say something of the label, and the label."""
    draw = random.Random(seed)
    amount = [draw.uniform(1, 3000) for _ in range(ROWS)]
    country = [draw.choice(["de", "fr", "it"]) for _ in range(ROWS)]
    late = [draw.random() < 0.1 + a / 6000 + 0.2 * (c == "it") for a, c in zip(amount, country, strict=True)]
    return {"amount": [round(a, 2) for a in amount], "country": country, "late": [int(x) for x in late]}


def write_csv(file: Path, columns: Columns, delimiter: str = ",") -> Path:
    """Write columns of texts, as a spreadsheet exports them."""
    with file.open("w", newline="", encoding="utf-8") as opened:
        lines = csv.writer(opened, delimiter=delimiter)
        lines.writerow(columns)
        lines.writerows(zip(*columns.values(), strict=True))
    return file


def write_parquet(file: Path, columns: Columns) -> Path:
    """Write typed columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({name: list(values) for name, values in columns.items()}), file)
    return file


def _written(pattern: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        ordered = {"order date": [f"{moment:{pattern}}" for moment in moments()]}
        return write_csv(folder / "orders.csv", ordered | facts())

    return write


day_month_year = _written("%d/%m/%Y %H:%M")
month_day_year_half_days = _written("%m/%d/%Y %I:%M %p")
day_name_year = _written("%d-%b-%y")


def mixed_times(folder: Path) -> Path:
    """Two systems that write the same day each in its own way."""
    patterns = ("%Y-%m-%d %H:%M:%S", "%d.%m.%Y %H:%M")
    ordered = [f"{moment:{patterns[n % 2]}}" for n, moment in enumerate(moments())]
    return write_csv(folder / "orders.csv", {"ordered": ordered} | facts())


def epoch_seconds(folder: Path) -> Path:
    """Whole seconds since 1970."""
    return write_parquet(folder / "orders.parquet", {"ts": [int(m.timestamp()) for m in moments()]} | facts())


def epoch_milliseconds(folder: Path) -> Path:
    """Milliseconds since 1970, without a name that says so."""
    ordered = {"ordered": [int(m.timestamp() * 1000) for m in moments()]}
    return write_csv(folder / "orders.csv", ordered | facts())


def whole_number_days_and_hours(folder: Path) -> Path:
    """Days as 20250131, and the hour in a column of its own."""
    days = {"day": [int(f"{m:%Y%m%d}") for m in moments()], "hour": [m.hour for m in moments()]}
    return write_csv(folder / "orders.csv", days | facts())


def day_and_clock(folder: Path) -> Path:
    """A date and a time of day, each as text."""
    days = {"date": [f"{m:%d/%m/%Y}" for m in moments()], "time": [f"{m:%H:%M}" for m in moments()]}
    return write_csv(folder / "orders.csv", days | facts())


def few_missing_times(folder: Path) -> Path:
    """One row in a hundred was never dated."""
    ordered = [f"{m:%Y-%m-%d %H:%M:%S}" if n % 100 else "N/A" for n, m in enumerate(moments())]
    return write_csv(folder / "orders.csv", {"ordered": ordered} | facts())


def later_time(folder: Path) -> Path:
    """The label is known with the delivery, twelve days after the order at most."""
    draw = random.Random(1)
    ordered = {"ordered": [f"{m:%d/%m/%Y}" for m in moments()]}
    delivered = [f"{m + timedelta(days=draw.uniform(2, 12)):%d/%m/%Y}" for m in moments()]
    return write_csv(folder / "orders.csv", ordered | {"delivered": delivered} | facts())


def money_and_percent(folder: Path) -> Path:
    """Money with thousands, percent, N/A among numbers."""
    columns = facts()
    columns["amount"] = [f"${a:,.2f}" if n % 40 else "N/A" for n, a in enumerate(columns["amount"])]
    discounts = {
        "discount": [f"{n % 31}.5%" for n in range(ROWS)],
        "day": [f"{m:%Y-%m-%d}" for m in moments()],
    }
    return write_csv(folder / "orders.csv", columns | discounts)


def decimal_commas(folder: Path) -> Path:
    """A German export: semicolons, decimal commas, thousands with points."""
    columns = facts()
    columns["amount"] = [f"{a:,.2f} €".translate({44: 46, 46: 44}) for a in columns["amount"]]
    return write_csv(folder / "orders.csv", {"tag": [f"{m:%d.%m.%Y}" for m in moments()]} | columns, ";")


def blanks(folder: Path) -> Path:
    """Categories and label with blanks around them."""
    columns = facts()
    columns["country"] = [f"{' ' * (n % 3)}{c}{' ' * (n % 2)}" for n, c in enumerate(columns["country"])]
    columns["late"] = [f"{'Yes' if late else 'no'}{' ' * (n % 2)}" for n, late in enumerate(columns["late"])]
    return write_csv(folder / "orders.csv", {"day": [f"{m:%Y-%m-%d}" for m in moments()]} | columns)


def values_that_come_and_go(folder: Path) -> Path:
    """One sensor died in spring, another one was installed then."""
    half = ROWS // 2
    died = [float(n % 17) if n < half else None for n in range(ROWS)]
    installed = [float(n % 19) if n >= half else None for n in range(ROWS)]
    return write_parquet(
        folder / "orders.parquet", {"at": moments(), "died": died, "installed": installed} | facts()
    )


def one_and_two(folder: Path) -> Path:
    """A label of 1 and 2, and codes that are whole numbers."""
    columns = facts()
    columns["late"] = [1 + late for late in columns["late"]]
    codes = {"store_id": [n * 7 % 13 for n in range(ROWS)], "at": moments()}
    return write_parquet(folder / "orders.parquet", codes | columns)


def telling_columns(folder: Path) -> Path:
    """One column that tells too much, and two that add up to the number to predict."""
    draw = random.Random(2)
    net = [draw.uniform(10, 100) for _ in range(ROWS)]
    tax = [draw.uniform(1, 30) for _ in range(ROWS)]
    total = [a + b for a, b in zip(net, tax, strict=True)]
    near = [t + draw.gauss(0, 5) for t in total]
    return write_parquet(
        folder / "bills.parquet",
        {
            "at": moments(),
            "net": net,
            "tax": tax,
            "estimate": near,
            "items": [n % 9 for n in range(ROWS)],
            "total": total,
        },
    )


def rare_label(folder: Path) -> Path:
    """Three of 2,000 rows are positive."""
    columns = facts() | {"late": [int(n % 700 == 0) for n in range(ROWS)], "at": moments()}
    return write_parquet(folder / "orders.parquet", columns)


def few_rows_a_day(folder: Path) -> Path:
    """One row every two and a half days, for years."""
    return write_parquet(folder / "orders.parquet", {"at": moments(timedelta(days=2.5))} | facts())


def placeholder_years(folder: Path) -> Path:
    """Open contracts end in 9999, and one was signed in the year 1."""
    signed = [f"{m:%Y-%m-%d}" for m in moments()]
    signed[7] = "0001-01-01"
    ends = ["9999-12-31" if n % 3 else f"{m:%Y-%m-%d}" for n, m in enumerate(moments())]
    return write_csv(folder / "contracts.csv", {"signed": signed, "valid_to": ends} | facts())


def no_time(folder: Path) -> Path:
    """Nothing says when a row was."""
    return write_parquet(folder / "orders.parquet", facts())


def single_moment(folder: Path) -> Path:
    """The time of the export in every row."""
    return write_parquet(folder / "orders.parquet", {"loaded_at": [START] * ROWS} | facts())


def parquet_called_csv(folder: Path) -> Path:
    """A Parquet file with the wrong name."""
    return write_parquet(folder / "orders.parquet", {"at": moments()} | facts()).rename(folder / "orders.csv")


def empty_file(folder: Path) -> Path:
    """No byte at all."""
    file = folder / "orders.csv"
    file.touch()
    return file


def header_only(folder: Path) -> Path:
    """A header without rows."""
    return write_csv(folder / "orders.csv", {"at": [], "amount": [], "late": []})


def one_column(folder: Path) -> Path:
    """The label and nothing else."""
    return write_csv(folder / "orders.csv", {"late": facts()["late"]})


def twice_the_same_name(folder: Path) -> Path:
    """Two columns with one name."""
    file = write_csv(
        folder / "orders.csv", {"at": [f"{m:%Y-%m-%d}" for m in moments()], "second": range(ROWS)} | facts()
    )
    file.write_text(file.read_text().replace("second", "amount", 1))
    return file


def without_label(folder: Path) -> Path:
    """The column to predict is spelled otherwise."""
    columns = facts()
    return write_parquet(
        folder / "orders.parquet", {"at": moments(), "is_late": columns.pop("late")} | columns
    )
