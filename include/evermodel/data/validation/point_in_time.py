"""The leak check: aggregates of sampled rows of a snapshot, computed again in Python from the tables of events.

What Feast gives is asked for again; that it is of the row's time is Feast's word.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from evermodel.data.features import Events, recompute
from evermodel.data.features.recompute import micros_of
from evermodel.data.sources import read_events, read_window
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, parse_moment

_PLACES, _ROWS = 3, 32  # in how many places, and how many rows in each
_KIND = "point_in_time"
_EXAMPLES = 3


def leak_checks(spec: ModelSpec, file: Path, seed: str) -> Iterator[CheckResult]:
    """Compute the aggregates of sampled rows again, and give a check for each that differs, or one that passed.

    Parameters
    ----------
    file
        The snapshot, in the order of time.
    seed
        The same rows are sampled for the same seed.

    Raises
    ------
    SourceError
        The rows or a table of events cannot be read any more.
    """
    names = spec.joined
    if not names:
        return
    differing: dict[str, list[str]] = {}
    count = 0
    for sample in _samples(spec, file, names, seed):
        for before, after in _computed_again(spec, sample, names):
            count += 1
            for name in names:
                if before[name] != after[name]:
                    line = f"{spec.id_column} {before[spec.id_column]}: {before[name]}, and {after[name]} computed again"
                    differing.setdefault(name, []).append(line)
    severities = Severities.of_spec(spec)
    for name, told in differing.items():
        found, allowed = f"{len(told)} of {count} sampled rows differ", "as known before each row's time"
        title = f"point in time of {name}"
        examples = tuple(told[:_EXAMPLES])
        yield severities.check(_KIND, title, False, found, allowed, name, len(told), examples)
    if not differing:
        yield severities.check(_KIND, "point in time", True, f"0 of {count} sampled rows differ", "none")


def _samples(spec: ModelSpec, file: Path, names: Sequence[str], seed: str) -> Iterator[list[dict[str, Any]]]:
    """Give neighbouring rows from a few places of the snapshot, so that little has to be read again."""
    import pyarrow.parquet as pq

    columns = [spec.id_column, spec.time_column, *names]
    draw = random.Random(seed)
    with pq.ParquetFile(file) as snapshot:
        groups = snapshot.metadata.num_row_groups
        for group in draw.sample(range(groups), min(_PLACES, groups)):
            rows = snapshot.read_row_group(group, columns=columns)
            first = draw.randrange(max(1, rows.num_rows - _ROWS + 1))
            yield rows.slice(first, _ROWS).to_pylist()


def _computed_again(
    spec: ModelSpec, sample: Sequence[dict[str, Any]], names: Sequence[str]
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Give each sampled row that the source still has, before and after; of the same id and time, none."""
    times = [parse_moment(row[spec.time_column]) for row in sample]
    window = Window(min(times), max(times) + timedelta(microseconds=1))
    given = [name for view in spec.feature_views for name in view.given]
    keyed = [spec.id_column, spec.time_column, *spec.entity_columns, *given]
    found: dict[tuple[Any, int | None], list[dict[str, Any]]] = {}
    for row in read_window(spec, window, with_label=False, columns=list(dict.fromkeys(keyed))).to_pylist():
        found.setdefault((row[spec.id_column], micros_of(row[spec.time_column])), []).append(row)
    pairs = []
    for before in sample:
        same = found.get((before[spec.id_column], micros_of(before[spec.time_column])), [])
        if len(same) == 1:
            pairs.append((before, same[0]))
    keys = {name: {row[name] for _, row in pairs} for name in spec.entity_columns}
    tables = dict.fromkeys(aggregate.table for aggregate in spec.features.aggregates)
    events = {name: Events(spec, name, read_events(spec, name, window, keys).to_pylist()) for name in tables}
    again = recompute(spec, [row for _, row in pairs], events, names)
    for (before, row), computed in zip(pairs, again, strict=True):
        yield before, {**{name: row[name] for name in given}, **computed}
