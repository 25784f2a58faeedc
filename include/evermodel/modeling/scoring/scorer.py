"""One model version that turns rows of the source into rows of the prediction log, batch by batch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import ModelFormatError
from evermodel.data.dtypes import as_type, not_numeric, require_features
from evermodel.data.prediction_log import log_schema
from evermodel.modeling import model_store
from evermodel.modeling.onnx.encoded import EncodedModel
from evermodel.modeling.tasks import NEGATIVE, POSITIVE, FittedPipeline, scores_and_classes, sound
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    import pyarrow as pa

    from evermodel.modeling.onnx.batch import BatchModel
    from evermodel.stats.metrics import Floats


@dataclass(frozen=True, eq=False)
class Scorer:
    """A version, ready to answer; where it has a graph, the pipeline is not loaded at all.

    Parameters
    ----------
    fast
        The graph, or the predictor of a boosting library; None if the pipeline answers.
    pipeline
        The fitted pipeline; None if the graph answers.
    threshold
        From which on a probability is decided positive; None without a rule for decisions.
    """

    spec: ModelSpec
    version: str
    fast: BatchModel | EncodedModel | None
    pipeline: FittedPipeline | None = None
    threshold: float | None = None

    @property
    def threads_well(self) -> bool:
        """True if several batches may be scored at once; scikit-learn brings threads of its own."""
        return self.fast is not None

    def score(self, rows: pa.Table | pa.RecordBatch) -> pa.Table:
        """Return rows of the prediction log for rows of the source; text may be a dictionary in both.

        Raises
        ------
        ModelFormatError
            An answer is not what the task allows, or the version needs a feature that the rows do not have.
        SourceError
            A numeric feature holds something else.
        """
        import pyarrow as pa

        table = rows if isinstance(rows, pa.Table) else pa.Table.from_batches([rows])
        features = _features(self.spec, table)
        scores, predicted = self._answers(features)
        if not sound(self.spec, scores):
            raise ModelFormatError(
                f"model {self.spec.name}, version {self.version}: an answer is not a "
                f"{'finite number' if self.spec.numeric_answers else 'probability'}",
                "roll back or retrain",
            )
        return _log_rows(self.spec, self.version, table, features, scores, predicted)

    def _answers(self, features: pa.Table) -> tuple[Floats, pa.Array[Any] | None]:
        import pyarrow as pa

        if self.fast is None:
            from evermodel.data.dtypes import feature_frame

            assert self.pipeline is not None
            frame = feature_frame(self.spec, features)
            scores, names = scores_and_classes(self.spec, self.pipeline, frame, self.threshold)
            return scores, None if names is None else pa.array(names, pa.string())
        answers = self.fast.answer_table(features)
        if self.spec.task != "multiclass":
            return answers[:, 0], _decisions(answers[:, 0], self.threshold)
        best = answers.argmax(axis=1)
        classes = pa.array(self.fast.classes, pa.string())
        return answers[np.arange(len(best)), best], classes.take(pa.array(best))


def read_scorer(spec: ModelSpec, version: str, folder: Path) -> Scorer:
    """Load a downloaded version.

    Raises
    ------
    ModelFormatError
        The version cannot be loaded, or was trained on features that the spec does not have.
    """
    names = [str(column["name"]) for column in model_store.signature_of(folder)]
    missing = [name for name in names if name not in spec.features.names]
    if missing:
        raise ModelFormatError(
            f"model {spec.name}, version {version}: it was trained on {', '.join(missing)}, which the spec no longer lists",
            f"run the DAG {dag_id('retrain', spec.name)}, or add the features to the spec",
        )
    fast = model_store.load_graph(folder)
    if fast is None:
        loaded = model_store.load_files(folder, spec.own_code)
        native = loaded.fast if isinstance(loaded.fast, EncodedModel) else None
        return Scorer(spec, version, native, loaded.pipeline, loaded.threshold)
    from evermodel.modeling.onnx import export_if_equal as keep
    from evermodel.modeling.onnx.batch import for_batches

    batch, threshold = for_batches(folder / keep.FOLDER, fast), model_store.threshold_of(folder)
    return Scorer(spec, version, batch, threshold=threshold)


def _decisions(scores: Floats, threshold: float | None) -> pa.Array[Any] | None:
    """Return the decision of each row as codes of a dictionary; None without a threshold."""
    import pyarrow as pa

    if threshold is None:
        return None
    return pa.DictionaryArray.from_arrays(
        (scores >= threshold).astype(np.int32), pa.array([NEGATIVE, POSITIVE])
    )


def _features(spec: ModelSpec, table: pa.Table) -> pa.Table:
    """Return the features with the types of the prediction log, which are those that the model sees."""
    import pyarrow as pa
    import pyarrow.compute as pc

    require_features(spec, table.column_names)
    columns = {}
    for name in spec.features.numeric:
        try:
            values = as_type(table[name], pa.float64(), safe=False)
        except pa.ArrowException as error:
            raise not_numeric(name, error) from error
        absent = pc.is_nan(values)
        columns[name] = pc.if_else(absent, None, values) if pc.any(absent).as_py() else values
    for name in spec.features.categorical:
        columns[name] = _text(table[name])
    return pa.table(columns)


def _text(values: pa.ChunkedArray[Any]) -> Any:
    import pyarrow as pa

    return values if pa.types.is_dictionary(values.type) else as_type(values, pa.string())


def _log_rows(
    spec: ModelSpec,
    version: str,
    table: pa.Table,
    features: pa.Table,
    scores: Floats,
    predicted: pa.Array[Any] | None,
) -> pa.Table:
    import pyarrow as pa

    schema, first = log_schema(spec), np.zeros(table.num_rows, np.int32)
    nothing = pa.nulls(table.num_rows, pa.dictionary(pa.int32(), pa.string()))
    columns = {
        "prediction_id": as_type(table[spec.id_column], pa.string()),
        "event_time": as_type(table[spec.time_column], schema.field("event_time").type),
        "model_version": pa.DictionaryArray.from_arrays(first, pa.array([version])),
        "score": pa.array(scores),
        "predicted": nothing if predicted is None else predicted,
        "source": pa.DictionaryArray.from_arrays(first, pa.array(["batch"])),
        "request_id": nothing,
        **{name: _text(table[name]) for name in spec.context},
        **dict(zip(features.column_names, features.columns, strict=True)),
    }
    return pa.table({name: columns[name] for name in schema.names})
