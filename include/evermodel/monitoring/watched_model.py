"""A watched model as monitoring sees a champion: its version in a window, its reference, and its baseline."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np

from evermodel.core.atomic import replacing
from evermodel.core.errors import EmptyWindowError, SourceError
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.storage import StoragePath, readable
from evermodel.data.foreign_log import reference_source
from evermodel.data.prediction_log import files_of, log_schema, read_log
from evermodel.data.sources import read_window
from evermodel.monitoring.drift.profile import of_version
from evermodel.monitoring.drift.profiles import Profiles, answers
from evermodel.monitoring.drift.reference_and_current import ColumnarRows
from evermodel.monitoring.drift.rows import ParquetRows, RenamedRows
from evermodel.monitoring.performance.answers import clusters_in, level
from evermodel.monitoring.performance.baseline import Baseline, rows_file
from evermodel.monitoring.performance.label_join import WINDOWS_BEFORE, labelled_rows
from evermodel.monitoring.performance.past_windows import WINDOWS
from evermodel.monitoring.verdict import MonitoredChampion
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, drift_window, midnight, zone_of

if TYPE_CHECKING:
    import pyarrow as pa


_DAY = timedelta(days=1)


def reference_period(spec: ModelSpec) -> Window:
    """Return the declared reference of a watched model."""
    assert spec.watch is not None
    period = spec.watch.reference
    return Window(*(_local(spec, moment) for moment in (period.start, period.end)))


def _local(spec: ModelSpec, moment: datetime) -> datetime:
    """Return a moment in UTC; without a zone it is in the model's."""
    aware = moment.replace(tzinfo=zone_of(spec)) if moment.tzinfo is None else moment
    return aware.astimezone(UTC)


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
    own = (
        since is not None
        and since >= declared.end
        and since.astimezone(zone_of(spec)).date() > profiles.days()[0]
    )
    length, apart = declared.end - declared.start, reference_source(spec)
    fitted, based = declared, declared
    if own:
        assert since is not None
        fitted, based = Window(since - length, since), Window(since, since + length)
    if apart is None and not any(map(profiles.day, declared.days(zone_of(spec)))):
        raise SourceError(
            f"model {spec.name}: {spec.source.told} has no row in watch.reference, {declared}",
            "set it to a period that has predictions",
        )
    if apart is not None and not own:
        training: ColumnarRows = _same_hours(spec, read_window(apart, fitted, with_label=False), as_of)
        based = Window(since or declared.end, (since or declared.end) + length)
        return MonitoredChampion(version, training, fitted, _baseline(spec, lake, version, based, as_of))
    training, answered = _reference(spec, lake, fitted, as_of)
    if own and spec.drift.window < _DAY:  # what is known of its first days is of whole days
        answered = _logged(spec, lake, based, as_of)
    held_out = None if own and spec.drift.window >= _DAY else _by(answered, version)
    return MonitoredChampion(
        version, training, fitted, _baseline(spec, lake, version, based, as_of), held_out
    )


def _reference(
    spec: ModelSpec, lake: StoragePath, period: Window, as_of: datetime
) -> tuple[ColumnarRows, pa.Table]:
    """Return the reference's rows and its answers; weeks of many columns are read one column at a time."""
    if spec.drift.window < _DAY:
        hours = _logged(spec, lake, period, as_of)
        return hours, hours
    rows = ParquetRows(files_of(spec, lake, period), period, "event_time", log_schema(spec))
    few = [*answers(spec), "event_time", "model_version"]
    return RenamedRows(rows, "event_time", spec.time_column), _renamed(
        spec, read_log(spec, lake, period, few)
    )


def _version(spec: ModelSpec, profiles: Profiles, window: Window) -> str:
    """Return the version with most answers on the last day of a window that has any."""
    (column,) = answers(spec)
    prefix = of_version(column, "")
    for day in reversed(window.days(zone_of(spec))):
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
    return None if day is None else midnight(spec, day)


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


def _same_hours(spec: ModelSpec, rows: pa.Table, as_of: datetime) -> pa.Table:
    """Return the rows of the hours that a window covers, by the local clock; all of them for a window of days.

    An hour of the night is compared with that hour of other days: hours differ more than days do.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    length = spec.drift.window
    if length >= _DAY:
        return rows
    zone, micro = zone_of(spec), timedelta(microseconds=1)
    end = as_of.astimezone(zone)
    start = timedelta(hours=end.hour, minutes=end.minute) - length
    local = pc.local_timestamp(rows[spec.time_column].cast(pa.timestamp("us", tz=str(zone))))
    past = np.asarray(local.cast(pa.int64())) - start // micro
    return rows.filter(pa.array(past % (_DAY // micro) < length // micro))


def _logged(spec: ModelSpec, lake: StoragePath, period: Window, as_of: datetime) -> pa.Table:
    return _same_hours(spec, _renamed(spec, read_log(spec, lake, period)), as_of)


def _renamed(spec: ModelSpec, rows: pa.Table) -> pa.Table:
    """Return rows of the log with the time under the name that the spec gives it."""
    return rows.rename_columns([spec.time_column if n == "event_time" else n for n in rows.column_names])


def _by(rows: pa.Table, version: str) -> pa.Table:
    import pyarrow.compute as pc

    return rows.filter(pc.fill_null(pc.equal(rows["model_version"], version), False))
