"""A watched model as monitoring sees a champion: its version in a window, its reference, and its baseline."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.core.atomic import replacing
from evermodel.core.errors import EmptyWindowError, SourceError
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.storage import StoragePath, readable
from evermodel.data.foreign_log import reference_source
from evermodel.data.prediction_log import read_log
from evermodel.data.sources import read_window
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.profiles import Profiles, answers, days_of_window
from evermodel.monitoring.performance.answers import clusters_in, level
from evermodel.monitoring.performance.baseline import Baseline, rows_file
from evermodel.monitoring.performance.label_join import WINDOWS_BEFORE, labelled_rows
from evermodel.monitoring.performance.past_windows import WINDOWS
from evermodel.monitoring.verdict import MonitoredChampion
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, drift_window, parse_moment

if TYPE_CHECKING:
    import pyarrow as pa


def reference_period(spec: ModelSpec) -> Window:
    """Return the declared reference of a watched model."""
    assert spec.watch is not None
    period = spec.watch.reference
    return Window(parse_moment(period.start), parse_moment(period.end))


def first_needed(spec: ModelSpec, as_of: datetime) -> datetime:
    """Return the time of the earliest prediction that the evaluation of a window takes."""
    drift = spec.drift
    trailing = max(drift.reference.span, drift.history.span) + 2 * drift.window
    windows = 1 + max(WINDOWS, WINDOWS_BEFORE)
    labels = spec.label.delay + windows * spec.performance.window + timedelta(days=1)
    return min(reference_period(spec).start, as_of - max(trailing, labels))


def watched_model(spec: ModelSpec, lake: StoragePath, as_of: datetime) -> MonitoredChampion:
    """Return the version that answered in the window that ends at a moment, with its reference and baseline.

    The version that answered in the declared reference is compared with it. A later one is compared with as many days
    before its first answer, which it can have been trained on, its answers and performance with its own first days.

    Raises
    ------
    EmptyWindowError
        The window has no row.
    SourceError
        The reference's table cannot be read.
    """
    profiles, declared = Profiles(spec, lake), reference_period(spec)
    version = _version(spec, profiles, drift_window(spec, as_of))
    since = _first_day(spec, profiles, version)
    # It came later than the reference, and took another one's place.
    own = since is not None and since >= declared.end and since.date() > profiles.days()[0]
    length, apart = declared.end - declared.start, reference_source(spec)
    fitted, based = declared, declared
    if own:
        assert since is not None
        fitted, based = Window(since - length, since), Window(since, since + length)
    if apart is None and not any(map(profiles.day, days_of_window(declared))):
        raise SourceError(
            f"model {spec.name}: {spec.source.told} has no row in watch.reference, {declared}",
            "set it to a period that has predictions",
        )
    if apart is not None and not own:
        training = read_window(apart, fitted, with_label=False)
        based = Window(since or declared.end, (since or declared.end) + length)
        return MonitoredChampion(version, training, fitted, _baseline(spec, lake, version, based, as_of))
    training = _renamed(spec, read_log(spec, lake, fitted))
    answered = None if own else _by(training, version)
    return MonitoredChampion(
        version, training, fitted, _baseline(spec, lake, version, based, as_of), answered
    )


def _version(spec: ModelSpec, profiles: Profiles, window: Window) -> str:
    """Return the version with most answers on the last day of a window that has any."""
    (column,) = answers(spec)
    prefix = of_version(column, "")
    for day in reversed(days_of_window(window)):
        found = profiles.day(day)
        if found is None:
            continue
        counts = {n.removeprefix(prefix): s.rows for n, s in found.samples.items() if n.startswith(prefix)}
        if counts:
            return max(counts, key=lambda name: (counts[name], name))
    raise EmptyWindowError(
        f"model {spec.name}: {spec.source.told} has no row in {window}", "check that predictions are logged"
    )


def _first_day(spec: ModelSpec, profiles: Profiles, version: str) -> datetime | None:
    """Return the first day of the log with answers of a version."""
    (column,) = answers(spec)
    name = of_version(column, version)
    day: date | None = next((d for d in profiles.days() if (p := profiles.day(d)) and p.has(name)), None)
    return None if day is None else parse_moment(day.isoformat())


def _baseline(spec: ModelSpec, lake: StoragePath, version: str, period: Window, as_of: datetime) -> Baseline:
    """Return the performance of a version in a period, once all labels of it are due, and store it."""
    import pyarrow.parquet as pq

    if not spec.labelled:
        return Baseline(version, None, None, "no labels are declared")
    due = period.end + spec.label.delay
    if due > as_of:
        return Baseline(version, None, None, f"its baseline is known from {due:%Y-%m-%d} on")
    name = f"{version}-{period.start:%Y%m%dT%H%M}-{period.end:%Y%m%dT%H%M}"
    file = rows_file(spec, name, lake)
    if not file.exists():
        rows = _by(labelled_rows(spec, lake, period, as_of), version)
        with replacing(file) as temporary:
            pq.write_table(rows.replace_schema_metadata(PARQUET_METADATA), temporary)
    kept = pq.read_table(readable(file), partitioning=None)
    require_known_parquet(kept.schema.metadata, file)
    if kept.num_rows < spec.performance.min_rows:
        note = f"{kept.num_rows} labels in {period}, at least {spec.performance.min_rows}"
        return Baseline(version, None, None, note)
    rows = _renamed(spec, kept)
    return Baseline(version, level(spec, rows, clusters=clusters_in(spec, rows)), rows)


def _renamed(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """Return rows of the log with the time under the name that the spec gives it."""
    return rows.rename_columns([spec.time_column if n == "event_time" else n for n in rows.column_names])


def _by(rows: pa.Table, version: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.fill_null(pc.equal(rows["model_version"], version), False))
