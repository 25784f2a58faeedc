"""The baseline of a version: its predictions on the test rows, and the metric with its sampling error."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.core.atomic import replacing
from evermodel.core.errors import EvermodelError
from evermodel.core.formats import PARQUET_METADATA, require_known_parquet
from evermodel.core.paths import inside
from evermodel.core.storage import StoragePath, readable
from evermodel.data.prediction_log import log_schema
from evermodel.evaluation.next_window import GainPrediction
from evermodel.monitoring.performance.answers import (
    Level,
    clusters_in,
    level,
    metric_to_watch,
    performance_metric,
)
from evermodel.registry.lineage import Lineage
from evermodel.registry.tracking import may_pass
from evermodel.spec import ModelSpec
from evermodel.spec.window import Window

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.core.settings import Settings
    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.registry.client import MlflowClient, ModelVersion


@dataclass(frozen=True)
class Baseline:
    """The performance baseline of a version.

    Parameters
    ----------
    level
        The monitored metric on the test rows, itself an estimate. None if unknown.
    rows
        The test rows: features, ``score``, ``predicted`` and ``label``; None if they cannot be restored.
    note
        A limitation of the baseline; empty if none.
    """

    version: str
    level: Level | None
    rows: pa.Table | None = None
    note: str = ""


def baseline_of(spec: ModelSpec, version: ModelVersion, client: MlflowClient, settings: Settings) -> Baseline:
    """Return the baseline of a version.

    The version scores the test rows of its snapshot again, which are later than its training rows;
    the predictions are cached in the lake, so that the model is loaded on the first day only. Without model or
    snapshot, the baseline is the registry's value alone. What makes winners look better than they are is taken off.

    Raises
    ------
    TransientError
        The lake or the MLflow server does not answer; their own libraries' errors are raised as they are.
    """
    from mlflow.exceptions import MlflowException

    number = str(version.version)
    try:
        rows = _test_rows(spec, version, client, settings)
    except (EvermodelError, MlflowException, OSError) as error:
        if may_pass(error):
            raise
        said = str(error).split("\n", maxsplit=1)[0]
        kept, note = None, f"its test rows cannot be read: {said}"
        found = _tagged(spec, version)
    else:
        kept, note = rows, ""
        found = level(spec, rows, clusters=clusters_in(spec, rows)) or _tagged(spec, version)
    found, less = without_optimism(spec, found, Lineage.from_version(version).gate_prediction)
    return Baseline(number, found, kept, "; ".join(filter(None, (note, less))))


def without_optimism(spec: ModelSpec, found: Level | None, prediction: str) -> tuple[Level | None, str]:
    """Take off a level what its decision says that winners look better by, and return what was done.

    Parameters
    ----------
    prediction
        The version's tag `GATE_PREDICTION`; empty if it was compared with none.
    """
    if found is None or not prediction:
        return found, ""
    promised = GainPrediction.from_text(prediction)
    if promised.metric != performance_metric(spec) or promised.optimism <= 0:
        return found, ""
    less = promised.optimism if metric_to_watch(spec).higher_is_better else -promised.optimism
    note = f"{found.value:.4f} on its test rows, corrected by {-less:+.4f} because it was chosen on them"
    moved = replace(found, value=found.value - less, low=found.low - less, high=found.high - less)
    return moved, note


def _tagged(spec: ModelSpec, version: ModelVersion) -> Level | None:
    """Return the registry's value, whose error is unknown."""
    found = Lineage.from_version(version)
    value = found.metric_value
    if value is None or found.metric != performance_metric(spec):
        return None
    return Level(0, value, value, value)


def rows_file(spec: ModelSpec, version: str, lake: StoragePath) -> StoragePath:
    """Return the file that keeps the test rows of a version."""
    return inside(lake / "promises" / spec.name, f"version={version}.parquet")


def _test_rows(spec: ModelSpec, version: ModelVersion, client: MlflowClient, settings: Settings) -> pa.Table:
    import pyarrow.parquet as pq

    file = rows_file(spec, str(version.version), settings.lake)
    if not file.exists():
        with replacing(file) as temporary:
            table = _score_test_rows(spec, version, client, settings)
            pq.write_table(table.replace_schema_metadata(PARQUET_METADATA), temporary)
    rows = pq.read_table(readable(file), partitioning=None)
    require_known_parquet(rows.schema.metadata, file)
    return rows


def _score_test_rows(
    spec: ModelSpec, version: ModelVersion, client: MlflowClient, settings: Settings
) -> pa.Table:
    from evermodel.data.dtypes import with_label
    from evermodel.data.snapshots.snapshot import read_snapshot
    from evermodel.modeling.model_store import load_model

    found = Lineage.from_version(version).require(version, "fit_window", "as_of", "snapshot")
    assert found.fit_window is not None
    assert found.as_of is not None
    tested = Window(found.fit_window.end, found.as_of - spec.label.delay)
    rows = with_label(spec, read_snapshot(found.snapshot, settings, tested, spec.time_column))
    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{spec.name}/{version.version}"
        model = load_model(client, uri, Path(folder), spec.own_code)
    return answered_rows(spec, model.pipeline, rows, model.threshold)


def answered_rows(
    spec: ModelSpec, pipeline: FittedPipeline, rows: pa.Table, threshold: float | None = None
) -> pa.Table:
    """Return rows with their label and a model's predictions, in the types of the prediction log."""
    import pyarrow as pa

    from evermodel.data.dtypes import feature_frame
    from evermodel.modeling.tasks import scores_and_classes

    scores, predicted = scores_and_classes(spec, pipeline, feature_frame(spec, rows), threshold)
    count = rows.num_rows
    kinds = log_schema(spec)  # these rows are compared with the log
    columns = {name: rows[name].cast(kinds.field(name).type) for name in spec.logged}
    table = pa.table({spec.time_column: rows[spec.time_column], **columns, "label": rows[spec.label.column]})
    table = table.append_column("score", pa.array(scores.tolist(), pa.float64()))
    names = pa.nulls(count, pa.string()) if predicted is None else pa.array(predicted, pa.string())
    return table.append_column("predicted", names)
