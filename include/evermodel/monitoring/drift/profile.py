"""A profile: what is kept of some rows, so that they need not be read again."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from evermodel.monitoring.drift.correlation import Ranked, natural_changes, ranked
from evermodel.monitoring.drift.reference_and_current import JOINT_ROWS as MOST_JOINT
from evermodel.monitoring.drift.reference_and_current import ExactRows
from evermodel.stats.sample import CategoricalSample, NumericSample, Sample

MOST_POINTS = 2_000  # a share of rows below a value is off by at most 1 / 4,000
MOST_COMPACT = 20_000
MOST_CATEGORIES = 10_000
JOINT_ROWS = 1_000
REST = "(rest)"


@dataclass(frozen=True)
class DayProfile:
    """Some rows as weighted samples of their columns; a side of a comparison.

    Parameters
    ----------
    samples
        Each column; of too many categories the rarer ones are one, named `REST`.
    together
        A sample of whole rows, by column; a category is a number that stands for its name.
    parts
        Profiles of single days, in their order, when this one was merged.
    """

    rows: float
    samples: Mapping[str, Sample]
    together: Mapping[str, NDArray[np.float64]]
    parts: tuple[DayProfile, ...] = field(default=(), compare=False, repr=False)
    _ranked: dict[tuple[str, ...], Ranked] = field(default_factory=dict, compare=False, repr=False)

    def sample(self, name: str) -> Sample:
        """Return one column; one that was not kept has only missing values."""
        return self.samples.get(name, CategoricalSample({}, missing=self.rows))

    def has(self, name: str) -> bool:
        """Tell whether a column was kept."""
        return name in self.samples

    def note(self, name: str) -> str:
        """Say that a column was not kept, if so."""
        return "" if name in self.samples else "the column is missing"

    def joint(self, names: Sequence[str]) -> NDArray[np.float64]:
        """Return the sample of whole rows."""
        parts = [part for part in self.parts or (self,) if part.together]
        rows = sum(part.whole_rows for part in parts)
        places = np.arange(rows) if rows <= MOST_JOINT else np.arange(MOST_JOINT) * (rows / MOST_JOINT)
        places, start = places.astype(np.intp), 0
        found = np.full((len(places), max(len(names), 1)), np.nan)
        for part in parts:
            first, last = np.searchsorted(places, [start, start + part.whole_rows])
            for column, name in enumerate(names):
                if name in part.together:
                    found[first:last, column] = part.together[name][places[first:last] - start]
            start += part.whole_rows
        return found

    @property
    def whole_rows(self) -> int:
        """Number of whole rows that were kept of a single part."""
        return max((len(values) for values in self.together.values()), default=0)

    def ranked(self, names: Sequence[str]) -> Ranked:
        """Return the same rows as ranks, made once."""
        key = tuple(names)
        if key not in self._ranked:
            self._ranked[key] = ranked(self.joint(names))
        return self._ranked[key]

    def stretches(self, name: str, days: int) -> list[tuple[Sample, Sample]]:
        """Cut the days into stretches that overlap by half."""
        return [
            (_merged_samples(rest, name), _merged_samples(inside, name)) for rest, inside in self._cuts(days)
        ]

    def once(self, key: Hashable, find: Callable[[], float]) -> float:
        """Find a figure of these rows: a profile is compared only once."""
        return find()

    def keeps(self, names: Sequence[str]) -> bool:
        """Tell whether each day has these columns of its whole rows; those of earlier releases have the numbers alone."""
        return all(name in part.together for part in self.parts or (self,) for name in names)

    def stretches_of_rows(
        self, names: Sequence[str], days: int
    ) -> list[tuple[NDArray[np.float64], NDArray[np.float64]]]:
        """Cut the days into stretches one after the other."""
        return [
            (np.vstack([d.joint(names) for d in rest]), np.vstack([d.joint(names) for d in inside]))
            for rest, inside in self._cuts(days, days)
        ]

    def grouped(self, name: str, cluster: str = "") -> None:
        """Return nothing: a profile has no rows with their day."""

    def natural_changes(self, names: Sequence[str], days: int) -> tuple[NDArray[np.float64], float]:
        """Return how far the rank correlations of stretches that overlap by half are from the others."""
        parts = []
        for rest, inside in self._cuts(days):
            rows = np.vstack([part.joint(names) for part in inside])
            rows = rows[:: max(1, len(rows) // MOST_POINTS)]
            parts.append((len(inside) / (len(inside) + len(rest)), rows))
        return natural_changes(self.ranked(names), parts, 2 if days > 1 else 1)

    def _cuts(self, days: int, step: int = 0) -> list[tuple[tuple[DayProfile, ...], tuple[DayProfile, ...]]]:
        if len(self.parts) < 3 * days:
            return []
        starts = range(0, len(self.parts) - days + 1, step or max(1, days // 2))
        return [((*self.parts[:s], *self.parts[s + days :]), self.parts[s : s + days]) for s in starts]


@dataclass
class KeptRows(ExactRows):
    """Exact rows whose columns stay in memory when they are first asked for: they can be compared many times."""

    _samples: dict[str, Sample] = field(default_factory=dict)

    def sample(self, name: str) -> Sample:
        """Return one column."""
        if name not in self._samples:
            self._samples[name] = self._kept(super().sample(name))
        return self._samples[name]

    def _kept(self, sample: Sample) -> Sample:
        return sample


@dataclass
class ThinnedRows(KeptRows):
    """Kept rows whose columns are thinned, so that they can be compared for little."""

    def _kept(self, sample: Sample) -> Sample:
        return thinned(sample, MOST_COMPACT)


def of_version(column: str, version: str) -> str:
    """Return the name under which the answers of one version are kept: a column of only its own rows."""
    return f"{column}@{version}"


def is_answer(name: str) -> bool:
    """Tell whether a name is one that `of_version` made."""
    return name.startswith(("score@", "predicted@"))


def profile(side: ExactRows, names: Sequence[str], most_points: int = MOST_POINTS) -> DayProfile:
    """Make the profile of exact rows."""
    samples = {name: thinned(side.sample(name), most_points) for name in names}
    together = dict(zip(names, side.joint(names).T, strict=True))
    return DayProfile(side.rows, samples, together)


def merged(profiles: Sequence[DayProfile]) -> DayProfile:
    """Put the rows of several profiles together."""
    names = dict.fromkeys(name for part in profiles for name in part.samples)
    parts = tuple(profiles)
    return DayProfile(sum(part.rows for part in parts), _Merged(names, parts), {}, parts)


@dataclass(frozen=True)
class _Merged(Mapping[str, Sample]):
    """Samples of several profiles, put together when one is asked for: all of them would take as much memory again."""

    names: Mapping[str, None]
    parts: tuple[DayProfile, ...]

    def __getitem__(self, name: str) -> Sample:
        if name not in self.names:
            raise KeyError(name)
        return _merged_samples(self.parts, name)

    def __contains__(self, name: object) -> bool:
        return name in self.names

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


def thinned(sample: Sample, most_points: int = MOST_POINTS) -> Sample:
    """Keep at most so many values of a column, each standing for as many rows; few distinct values stay exact."""
    if isinstance(sample, CategoricalSample):
        return _commonest(sample)
    few = sample.distinct(most_points)
    if few is not None:
        return NumericSample(*few, sample.missing)
    rows = sample.known
    ranks = (np.arange(most_points) + 0.5) * (rows / most_points)
    values, drawn = np.unique(sample.at(ranks.astype(np.intp)), return_counts=True)
    return NumericSample(values, drawn.astype(np.float64) * (rows / most_points), sample.missing)


def _commonest(sample: CategoricalSample) -> CategoricalSample:
    if len(sample.counts) <= MOST_CATEGORIES:
        return sample
    ordered = sorted(sample.counts.items(), key=lambda item: (-item[1], item[0]))
    kept = dict(ordered[:MOST_CATEGORIES])
    kept[REST] = kept.get(REST, 0) + sum(count for _, count in ordered[MOST_CATEGORIES:])
    return CategoricalSample(kept, sample.missing)


def _merged_samples(profiles: Sequence[DayProfile], name: str) -> Sample:
    known = [part.samples[name] for part in profiles if name in part.samples]
    missing = sum(part.missing for part in known)
    if not is_answer(name):
        missing += sum(part.rows for part in profiles if name not in part.samples)
    if all(isinstance(part, CategoricalSample) for part in known):
        counts: dict[str, float] = {}
        for part in known:
            assert isinstance(part, CategoricalSample)
            for name, count in part.counts.items():
                counts[name] = counts.get(name, 0) + count
        return _commonest(CategoricalSample(counts, missing))
    numeric = [part for part in known if isinstance(part, NumericSample)]
    values = np.concatenate([part.values for part in numeric])
    weights = np.concatenate([np.ones(len(p.values)) if p.weights is None else p.weights for p in numeric])
    # A column that was categories on other days has no numbers there.
    missing += sum(part.rows - part.missing for part in known if isinstance(part, CategoricalSample))
    order = np.argsort(values, kind="stable")
    return NumericSample(values[order], weights[order], missing)
