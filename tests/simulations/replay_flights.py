"""The flights of 2013 day by day: a champion of the first eight weeks, and what the drift DAG would have said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from tests.simulations.replay_days import Replayed, replay, write_log

from evermodel.data.examples.flights import prepare_flights
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

START = datetime(2013, 1, 1, tzinfo=UTC)
FITTED = Window(START, START + timedelta(days=56))
LAST = datetime(2013, 12, 31, tzinfo=UTC)
STEADY = ("carrier", "origin", "dest", "distance", "hour")
WEATHER = ("temp", "dewp", "humid", "pressure", "wind_speed", "visib", "precip")
SPEC = Path(__file__).parents[2] / "include" / "models" / "flights.yaml"


@dataclass(frozen=True)
class Setting:
    """One way to watch: length of the window, what it is held against, how many days lie between two verdicts."""

    window: str
    reference: str
    step: int = 1
    learning: bool = True

    @property
    def words(self) -> str:
        """Name it for the table."""
        return f"{self.window} against {self.reference}"


SETTINGS = (
    Setting("1d", "training"),
    Setting("7d", "training"),
    Setting("7d", "trailing", step=3, learning=False),
)


def run(folder: Path) -> str:
    """Return a table in Markdown: share of days on which a column alarms."""
    found = {setting: replays(folder, setting) for setting in SETTINGS}
    lines = ["| column | " + " | ".join(setting.words for setting in SETTINGS) + " |"]
    lines.append("|---|" + "---|" * len(SETTINGS))
    for column in (*STEADY, *WEATHER, "score"):
        cells = [_cell(days, column) for days in found.values()]
        lines.append(f"| {column} | {' | '.join(cells)} |")
    return "\n".join(lines)


def replays(folder: Path, setting: Setting) -> list[Replayed]:
    """Judge the year in one setting."""
    rows = flights(folder)
    spec = spec_of(folder / "flights.parquet", setting)
    lake = folder / "lake"
    before = rows.filter(pc.less(rows[spec.time_column], FITTED.end))
    if not (lake / "predictions").exists():
        after = rows.filter(pc.greater_equal(rows[spec.time_column], FITTED.end))
        write_log(spec, lake, after, scorer(spec, before))
    first = FITTED.end + spec.drift.window
    ends = [first + timedelta(days=day) for day in range(0, (LAST - first).days, setting.step)]
    return list(replay(spec, lake, before, FITTED, ends, learning=setting.learning))


def flights(folder: Path) -> pa.Table:
    """Return the flights, made from their package."""
    rows = pq.read_table(prepare_flights(folder))
    times = rows["scheduled_at"].cast(pa.timestamp("us", tz="UTC"))
    return rows.set_column(rows.column_names.index("scheduled_at"), "scheduled_at", times)


def spec_of(file: Path, setting: Setting) -> ModelSpec:
    """Return the shipped spec, watched in one setting."""
    data: dict[str, Any] = yaml.safe_load(SPEC.read_text(encoding="utf-8"))
    data["source"] = {"kind": "files", "path": str(file)}
    data["drift"] = {"window": setting.window, "reference": {"kind": setting.reference}}
    return ModelSpec.model_validate(data)


def scorer(spec: ModelSpec, training: pa.Table) -> Any:
    """Fit a champion on the numeric features of the training rows; return what scores a table."""
    from sklearn.ensemble import HistGradientBoostingClassifier

    def numbers(table: pa.Table) -> np.ndarray:
        return np.column_stack([table[name].to_numpy().astype(float) for name in spec.features.numeric])

    model = HistGradientBoostingClassifier(max_iter=60, random_state=0)
    model.fit(numbers(training), training[spec.label.column].to_numpy())

    def score(table: pa.Table) -> Sequence[float]:
        found: Sequence[float] = model.predict_proba(numbers(table))[:, 1]
        return found

    return score


def _cell(found: list[Replayed], column: str) -> str:
    """Return the shares of days with a critical alarm and with a warning, and the largest effect."""
    tests = [
        c for day in found for c in day.columns if c.column == column and c.what in ("feature", "prediction")
    ]
    critical = sum(c.severity == "critical" for c in tests) / max(len(tests), 1)
    warning = sum(c.severity == "warning" for c in tests) / max(len(tests), 1)
    largest = max((c.effect for c in tests), default=0.0)
    return f"{critical:.1%} critical, {warning:.1%} warning, PSI to {largest:.2f}"
