"""Daily profiles of the prediction log, kept in the lake: weeks are compared without reading old days again."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.atomic import replacing
from evermodel.core.storage import ObjectState, StoragePath, readable
from evermodel.data.prediction_log import log_of, log_schema
from evermodel.monitoring.drift.profile import JOINT_ROWS, DayProfile, merged, profile, thinned
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.monitoring.drift.rows import LogRows, ParquetRows
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, midnight, zone_of
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample

if TYPE_CHECKING:
    import pyarrow as pa

_RECIPE = "1"  # changes when profiles are made differently, so that old ones are made again
_KEPT_DAYS = 32
_FINGERPRINT = b"evermodel.fingerprint"
_GROUP = 50  # columns that are in memory at once


@dataclass
class Profiles:
    """The daily profiles of one model, as they are when they are first asked for.

    Parameters
    ----------
    lake
        Root of the lake; profiles are in ``profiles/<model>/date=YYYY-MM-DD/profile.parquet``.
    kept
        Profiles of the last days, for the next one who is given the same dictionary.
    """

    spec: ModelSpec
    lake: StoragePath
    kept: dict[tuple[date, str], DayProfile] = field(default_factory=dict)
    _read: dict[date, DayProfile | None] = field(default_factory=dict)
    _states: dict[date, str] = field(default_factory=dict)

    @property
    def folder(self) -> StoragePath:
        """Where this model's profiles are."""
        return self.lake / "profiles" / self.spec.name

    def day(self, day: date) -> DayProfile | None:
        """Return a day's profile, made again when the day's log has changed; None when the log has no such day."""
        if day not in self._read:
            self._read[day] = self._find(day)
        return self._read[day]

    def days(self) -> list[date]:
        """Return the days that the log has, the oldest first."""
        return sorted(self._files)

    def merged(self, days: Sequence[date]) -> DayProfile | None:
        """Return some days put together; None when none of them has rows."""
        found = [part for part in map(self.day, days) if part is not None]
        return merged(found) if found else None

    def fingerprint(self, days: Sequence[date]) -> str:
        """Return what identifies the logs of some days."""
        for day in days:
            if day not in self._states:
                self._states[day] = self._fingerprint(day)
        text = "|".join(self._states[day] for day in days)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def _find(self, day: date) -> DayProfile | None:
        if not self._of(day):
            return None
        file = self.folder / f"date={day.isoformat()}" / "profile.parquet"
        fingerprint = self._fingerprint(day)
        found = self.kept.get((day, fingerprint)) or _load(file, fingerprint)
        if found is None:
            found = self._make(day)
            _save(found, file, fingerprint)
        self.kept[day, fingerprint] = found
        if len(self.kept) > _KEPT_DAYS:
            del self.kept[next(iter(self.kept))]
        return found if found.rows else None

    def _make(self, day: date) -> DayProfile:
        window = whole(self.spec, day)
        rows = ParquetRows(self._of(day), window, "event_time", log_schema(self.spec))
        side = ExactRows(
            rows,
            frozenset([*self.spec.features.numeric, "score"]),
            seed=day.toordinal(),
            joint_rows=JOINT_ROWS,
        )
        found = profile(side, [*self.spec.features.names, *answers(self.spec)])
        return replace(found, samples={**found.samples, **_by_version(self.spec, rows)})

    def _of(self, day: date) -> list[StoragePath]:
        """Return the files that a day touches; those of the log are by days of UTC."""
        return [file for part in whole(self.spec, day).days() for file in self._files.get(part, ())]

    @cached_property
    def _files(self) -> dict[date, list[StoragePath]]:
        """The files of each day of the log, listed once."""
        found: dict[date, list[StoragePath]] = {}
        for file in log_of(self.spec, self.lake).files():
            found.setdefault(file.day, []).append(file.path)
        return found

    def _fingerprint(self, day: date) -> str:
        text = "|".join(f"{file.name}:{_state_of(file)}" for file in self._of(day))
        columns = ",".join([*self.spec.features.numeric, ";", *self.spec.features.categorical])
        zone = "" if zone_of(self.spec) is UTC else f"|{zone_of(self.spec)}"
        return hashlib.sha256(f"{_RECIPE}|{columns}|{text}{zone}".encode()).hexdigest()[:16]


def _state_of(file: StoragePath) -> str:
    state = file.stat()
    return state.version if isinstance(state, ObjectState) else f"{state.st_size}:{state.st_mtime_ns}"


def answers(spec: ModelSpec) -> list[str]:
    """Return the column of the log that holds what the model answered."""
    return ["predicted"] if spec.task == "multiclass" else ["score"]


def whole(spec: ModelSpec, day: date) -> Window:
    """Return the window of a day of a model."""
    return Window(midnight(spec, day), midnight(spec, day + timedelta(days=1)))


def days_before(spec: ModelSpec, window: Window, span: timedelta) -> list[date]:
    """Return the whole days of a span that ends where a window starts, the oldest first."""
    last = window.start.astimezone(zone_of(spec)).date()
    return [last - timedelta(days=back) for back in range(max(1, span.days), 0, -1)]


def _by_version(spec: ModelSpec, rows: ParquetRows) -> dict[str, Sample]:
    log = LogRows(rows, answers(spec))
    side = ExactRows(log, log.numbers)
    return {name: thinned(side.sample(name)) for name in log.answers}


def _save(made: DayProfile, file: StoragePath, fingerprint: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [_row(name, sample, made) for name, sample in made.samples.items()]
    columns: list[tuple[str, pa.DataType]] = [
        ("column", pa.string()),
        ("missing", pa.float64()),
        ("rows", pa.float64()),
        ("values", pa.list_(pa.float64())),
        ("categories", pa.list_(pa.string())),
        ("weights", pa.list_(pa.float64())),
        ("together", pa.list_(pa.float64())),
    ]
    schema = pa.schema(columns, metadata={_FINGERPRINT: fingerprint.encode()})
    with replacing(file) as draft:
        table = pa.Table.from_pylist(rows, schema=schema)
        pq.write_table(table, draft, compression="zstd", row_group_size=_GROUP)


def _row(name: str, sample: Sample, made: DayProfile) -> dict[str, object]:
    row: dict[str, object] = {"column": name, "missing": sample.missing, "rows": made.rows}
    if isinstance(sample, NumericSample):
        assert sample.weights is not None
        row |= {"values": sample.values, "weights": sample.weights}
    else:
        row |= {"categories": list(sample.counts), "weights": list(sample.counts.values())}
    if name in made.together:
        row["together"] = made.together[name]
    return row


def _load(file: StoragePath, fingerprint: str) -> DayProfile | None:
    """Open a profile; None if there is none, or one of other rows, or a damaged one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        parquet = pq.ParquetFile(readable(file))
        if (parquet.metadata.metadata or {}).get(_FINGERPRINT) != fingerprint.encode():
            return None
        heads = [
            parquet.read_row_group(group, columns=["column", "rows", "together"])
            for group in range(parquet.num_row_groups)
        ]
        groups = {str(name): group for group, head in enumerate(heads) for name in head["column"].to_pylist()}
        samples = _StoredSamples(file, groups)
        if samples:  # the only group of most models: damage shows here
            samples.group(0)
    except (OSError, pa.ArrowException):
        return None
    together = {
        str(name): _floats(cell)
        for head in heads
        for name, cell in zip(head["column"].to_pylist(), head["together"], strict=True)
        if cell.is_valid
    }
    return DayProfile(heads[0]["rows"][0].as_py() if samples else 0.0, samples, together)


@dataclass(frozen=True)
class _StoredSamples(Mapping[str, Sample]):
    """The columns of a stored profile, read a group at a time: weeks of a thousand columns are gigabytes."""

    file: StoragePath
    groups: Mapping[str, int]
    _kept: dict[int, dict[str, Sample]] = field(default_factory=dict, compare=False, repr=False)

    def __getitem__(self, name: str) -> Sample:
        return self.group(self.groups[name])[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.groups)

    def __len__(self) -> int:
        return len(self.groups)

    def __contains__(self, name: object) -> bool:
        return name in self.groups

    def group(self, number: int) -> dict[str, Sample]:
        """Return the columns of one group; two of them are kept, as columns are compared two at a time."""
        import pyarrow.parquet as pq

        found = self._kept.get(number)
        if found is None:
            columns = ["column", "missing", "values", "categories", "weights"]
            found = _samples(pq.ParquetFile(readable(self.file)).read_row_group(number, columns=columns))
            for old in list(self._kept)[:-1]:
                self._kept.pop(old, None)
            self._kept[number] = found
        return found


def _samples(table: pa.Table) -> dict[str, Sample]:
    samples: dict[str, Sample] = {}
    for place, name in enumerate(map(str, table["column"].to_pylist())):
        missing = table["missing"][place].as_py()
        weights = _floats(table["weights"][place])
        if table["values"][place].is_valid:
            samples[name] = NumericSample(_floats(table["values"][place]), weights, missing)
        else:
            names = table["categories"][place].as_py()
            samples[name] = CategoricalSample(dict(zip(names, weights.tolist(), strict=True)), missing)
    return samples


def _floats(cell: pa.ListScalar[Any]) -> np.ndarray:
    assert cell.values is not None
    found: np.ndarray = cell.values.to_numpy(zero_copy_only=False).astype(np.float64)
    return found
