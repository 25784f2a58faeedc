"""Check whether the data of a window has arrived and is complete."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from glob import glob

from evermodel.core.errors import SourceError, TransientError
from evermodel.core.storage import StoragePath, readable
from evermodel.data.prediction_log import damaged_log, files_of
from evermodel.data.sources import Arrival, arrival
from evermodel.spec import ModelSpec
from evermodel.spec.source import marker_path
from evermodel.spec.window import Window


@dataclass(frozen=True)
class Readiness:
    """Whether a window is ready, what was found, and what is missing if it is not."""

    ready: bool
    found: str
    missing: str = ""


def source_ready(spec: ModelSpec, window: Window, now: datetime | None = None) -> Readiness:
    """Tell whether the source's data of a window is complete, by the rules of `source.complete`.

    A source that cannot be reached is one that is not ready; one that can never be read raises.

    Raises
    ------
    SourceError
        The source cannot be read as declared.
    """
    wanted, day = spec.source.complete, _last_day(window)
    if wanted.marker is not None:
        marker = marker_path(wanted.marker, window.start, window.end)
        if not _exists(spec, marker):
            return Readiness(False, f"no marker {marker}", f"the marker {marker}")
    try:
        state = _arrived(spec, day, now)
    except TransientError as error:
        return Readiness(False, error.problem, f"an answer of {spec.source.told}")
    newest = "no row" if state.newest is None else f"newest row at {_minute(state.newest)}"
    found = f"{state.rows} rows in {day}; {newest} in {spec.source.told}"
    if state.future:
        found += f"; {state.future} rows are in the future and not counted"
    missing = []
    if state.rows < wanted.min_rows:
        missing.append(f"{wanted.min_rows - state.rows} of {wanted.min_rows} rows in {day}")
    if wanted.newest_within is not None:
        latest = window.end - wanted.newest_within
        if state.newest is None or state.newest < latest:
            missing.append(f"a row at {_minute(latest)} or later")
    return Readiness(not missing, found, " and ".join(missing))


def _arrived(spec: ModelSpec, day: Window, now: datetime | None) -> Arrival:
    """Read what has arrived; once more after an error, because a file may be replaced while it is read."""
    try:
        return arrival(spec, day, now)
    except SourceError:
        return arrival(spec, day, now)


def predictions_ready(spec: ModelSpec, lake: StoragePath, window: Window) -> Readiness:
    """Tell whether the prediction log, or the source of a watched model's predictions, holds rows of the window's last day.

    Raises
    ------
    SourceError
        A file of the log is damaged, or the source cannot be read as declared.
    """
    if spec.watch is not None:
        return source_ready(spec, window)
    import pyarrow as pa
    import pyarrow.parquet as pq

    day = _last_day(window)
    files = files_of(spec, lake, day)
    rows = 0
    for file in files:
        try:
            rows += pq.read_metadata(readable(file)).num_rows
        except (pa.ArrowException, OSError) as error:
            raise damaged_log(spec, file, error) from error
    found = f"{rows} rows in {len(files)} files of the prediction log for {day}"
    return Readiness(rows > 0, found, "" if rows else f"predictions of {day}")


def _last_day(window: Window) -> Window:
    return Window(max(window.start, window.end - timedelta(days=1)), window.end)


def _minute(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"


def _exists(spec: ModelSpec, path: str) -> bool:
    if "://" not in path:
        return bool(glob(path))
    import fsspec

    try:
        files, inside = fsspec.core.url_to_fs(path)
        files.invalidate_cache()  # what was not there at the last check
        return bool(files.glob(inside))
    except FileNotFoundError:
        return False
    except (ImportError, ValueError) as error:
        raise SourceError(
            f"model {spec.name}: the marker {path} cannot be checked: {error}",
            "install the fsspec file system for this URL, or correct `source.complete.marker`",
        ) from error
    except OSError:
        return False  # the store is away: the next check may find it
