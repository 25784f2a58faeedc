"""The distributions of the shadow's and the champion's answers to the same rows, from the shadow's log."""

from __future__ import annotations

import logging
from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evermodel.core.storage import StoragePath
from evermodel.data.prediction_log import files_of, read_file
from evermodel.deployment.rollout.evidence import Distribution
from evermodel.monitoring.drift.bins import CategoryBins, NumberBins
from evermodel.registry.traffic_plan import TrafficPlan
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window
from evermodel.stats.sample import CategoricalSample, NumericSample

if TYPE_CHECKING:
    import pyarrow as pa

_LOG = logging.getLogger(__name__)
_TEXTS = ("model_version", "heard_version", "predicted", "heard_predicted")
Floats = NDArray[np.float64]


def distribution(spec: ModelSpec, lake: StoragePath, plan: TrafficPlan, now: datetime) -> Distribution:
    """Compare the distributions of the champion's and the shadow's answers to the same rows since the step began.

    Scores are counted between the champion's deciles, classes by name.
    """
    import pyarrow.compute as pc

    answers = _answers(spec, lake, plan, Window(datetime.fromisoformat(plan.step_since), now))
    if answers.num_rows == 0:
        return Distribution(0, 0.0)
    if spec.task == "multiclass":
        old, new = (
            Counter(name for name in answers[column].to_pylist() if name is not None)
            for column in ("heard_predicted", "predicted")
        )
        sides = [
            CategoricalSample(dict(counted), answers.num_rows - sum(counted.values()))
            for counted in (old, new)
        ]
        chosen = CategoryBins.of(sides[0])
        counts = [chosen.count(side) for side in sides]
    else:
        known = [
            np.sort(np.asarray(pc.drop_null(answers[column]), dtype=np.float64))
            for column in ("heard_score", "score")
        ]
        numbers = [NumericSample(values, missing=answers.num_rows - len(values)) for values in known]
        bins = NumberBins.of(numbers[0])
        counts = [bins.count(side) for side in numbers]
    return Distribution(answers.num_rows, stability_index(*counts))


def stability_index(before: Floats, now: Floats) -> float:
    """Return the population stability index of two rows of counts, with half a row added to each bin in use.

    There is no correction for chance: answers to the same rows differ less than those to two samples.

    >>> round(stability_index(np.array([500.0, 500.0]), np.array([250.0, 750.0])), 3)
    0.274
    """
    used = before + now > 0
    p, q = (side[used] + 0.5 for side in (before, now))
    p, q = p / p.sum(), q / q.sum()
    return float(((q - p) * np.log(q / p)).sum())


def _answers(spec: ModelSpec, lake: StoragePath, plan: TrafficPlan, window: Window) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    columns: list[tuple[str, pa.DataType]] = [
        ("event_time", pa.timestamp("us", tz="UTC")),
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in ("score", "heard_score")),
    ]
    schema, filters = pa.schema(columns), window.filter("event_time")
    filters &= pc.field("model_version") == plan.challenger
    filters &= pc.field("heard_version") == plan.champion
    tables = [schema.empty_table()]
    for file in files_of(spec, lake, window, log="shadow"):
        try:
            tables.append(read_file(file, schema, filters))
        except (OSError, pa.ArrowException) as error:
            _LOG.warning("the shadow's log %s cannot be read: %s", file, error)
    return pa.concat_tables(tables)
