"""A fitted pipeline that answers without pandas: categories become codes by a look-up, and its estimator is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.modeling.onnx.columns import codes_of
from evermodel.modeling.onnx.encoding import Codes, Encoding, Matrix, Row, without_formulas

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from evermodel.modeling.tasks import FittedPipeline


@dataclass(frozen=True, eq=False)
class EncodedModel:
    """An estimator of boosted trees behind its look-up of categories; one instance answers many threads.

    Parameters
    ----------
    estimator
        The pipeline's last step.
    order
        Which feature each column of the estimator's matrix holds.
    classes
        Names of the columns of the answers, for multiclass.
    """

    estimator: Any
    encoding: Encoding
    order: tuple[int, ...]
    classes: tuple[str, ...] = ()

    engine: ClassVar[Literal["native"]] = "native"

    def answer(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Answer rows whose values are in the order of `Encoding.names`: rows x 1, or for multiclass rows x classes."""
        return self.run(self.encoding.rows(rows))

    def answer_table(self, table: pa.Table) -> NDArray[np.float64]:
        """Answer the rows of an Arrow table."""
        return self.run(self.encoding.table(table))

    def run(self, matrix: Matrix) -> NDArray[np.float64]:
        """Answer encoded rows, without what formulas compute of them."""
        if len(matrix) == 0:
            return np.empty((0, len(self.classes) or 1))
        rows = self.encoding.complete(matrix)[:, self.order]
        if not hasattr(self.estimator, "predict_proba"):
            return np.asarray(self.estimator.predict(rows), dtype=np.float64)[:, None]
        answers = np.asarray(self.estimator.predict_proba(rows), dtype=np.float64)
        return answers if self.classes else answers[:, 1:]


def encoded_model(pipeline: FittedPipeline, example: pd.DataFrame) -> EncodedModel | None:
    """Return a pipeline of one of the boosting libraries without its preprocessing; None if it has another shape.

    Parameters
    ----------
    example
        Rows, which both must answer alike.
    """
    formulas, steps = without_formulas(pipeline)
    if len(getattr(steps, "steps", ())) != 2 or type(steps[0]).__name__ != "ColumnTransformer":
        return None
    estimator = steps[-1]
    if not type(_inner(estimator)).__name__.startswith("Boosted"):
        return None
    names = tuple(str(name) for name in steps[0].feature_names_in_)
    codes: dict[str, Codes] = {}
    order: list[int] = []
    for _, block, chosen in steps[0].transformers_:
        columns = [str(name) for name in chosen]
        order += [names.index(name) for name in columns]
        if columns and type(block).__name__ == "OrdinalEncoder":
            codes |= codes_of(block, columns)
    found = tuple(str(name) for name in getattr(estimator, "classes_", ()))
    encoding = Encoding(tuple(name for name in names if name not in formulas), codes, formulas)
    model = EncodedModel(estimator, encoding, tuple(order), found if len(found) > 2 else ())
    return model if _same(model, pipeline, example) else None


def _inner(estimator: Any) -> Any:
    """Return what a calibrated estimator calibrates."""
    fitted = getattr(estimator, "calibrated_classifiers_", None)
    return getattr(fitted[0].estimator, "estimator", None) if fitted else estimator


def _same(model: EncodedModel, pipeline: FittedPipeline, example: pd.DataFrame) -> bool:
    import pyarrow as pa

    frame = example[list(model.encoding.names)]
    ask = pipeline.predict_proba if hasattr(pipeline, "predict_proba") else pipeline.predict
    wanted = np.asarray(ask(frame), dtype=np.float64).reshape(len(frame), -1)
    wanted = wanted[:, 1:] if wanted.shape[1] == 2 else wanted
    return np.array_equal(model.answer_table(pa.Table.from_pandas(frame, preserve_index=False)), wanted)
