"""One model version in memory, ready to answer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from evermodel.core.errors import ModelFormatError
from evermodel.core.extras import named_extras
from evermodel.modeling import model_store
from evermodel.modeling.scoring.answer_reference import AnswerReference, read_reference
from evermodel.modeling.scoring.request_rows import Inputs, Row
from evermodel.spec import ModelSpec
from evermodel.spec.features import FeaturesSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from evermodel.modeling.model_store import LoadedModel
    from evermodel.modeling.onnx.encoding import FastPath
    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.stats.metrics import Floats


class Answer(NamedTuple):
    """The answer for one row: a probability or a value, and what is predicted.

    Parameters
    ----------
    label
        The most probable of many classes; None for other tasks.
    decision
        1 or 0, of a binary model with a rule for decisions.
    rank
        The place in its list, from 1; of a ranking.
    """

    score: float
    label: str | None = None
    decision: int | None = None
    rank: int | None = None

    @property
    def predicted(self) -> str | None:
        """What the prediction log has as predicted: the class or the decision."""
        return self.label if self.decision is None else str(self.decision)


@dataclass(frozen=True, eq=False)
class ServedModel:
    """A loaded version, with the features that it was trained on.

    Parameters
    ----------
    spec
        The model's spec, with the features of this version's signature: a later edit of the spec does not change the
        inputs of this version.
    pipeline
        The fitted pipeline; None if only the graph is loaded.
    example
        One row, for the API's documentation.
    fast
        What answers in the pipeline's place; None if the pipeline answers.
    threshold
        From which on a probability is decided positive; None without a rule for decisions.
    reference
        What it keeps for `evermodel.modeling.scoring.answer_details`; None without anything.
    """

    spec: ModelSpec
    version: str
    pipeline: FittedPipeline | None
    inputs: Inputs
    example: dict[str, Any]
    fast: FastPath | None = None
    threshold: float | None = None
    reference: AnswerReference | None = None

    @property
    def name(self) -> str:
        """Name of the model."""
        return self.spec.name

    @property
    def engine(self) -> Literal["onnx", "native", "sklearn"]:
        """The engine that computes the answers."""
        return "sklearn" if self.fast is None else self.fast.engine

    def predict(self, rows: Sequence[Row]) -> list[Answer]:
        """Score rows, each with the values of the features in the order of the signature.

        Raises
        ------
        ModelFormatError
            An answer is not one that the task allows.
        """
        if self.fast is not None:
            return self._checked(*self._fast_points(self.fast, rows))
        import pandas as pd

        columns = zip(*rows, strict=True)
        return self._answers(pd.DataFrame(dict(zip(self.inputs.names, map(list, columns), strict=True))))

    def outputs(self, rows: Sequence[Row]) -> tuple[Floats, tuple[str, ...]]:
        """Return all that the model answers: rows x 1, or for multiclass rows x classes with the names of these."""
        if self.fast is not None:
            return self.fast.answer(rows), self.fast.classes
        import numpy as np
        import pandas as pd

        columns = [np.array(values, dtype=object) for values in zip(*rows, strict=True)]
        frame = pd.DataFrame(dict(zip(self.inputs.names, columns, strict=True)))
        return self._of_pipeline(frame)

    def mixed(
        self, row: Row, background: Sequence[Row], of: NDArray[np.intp], switched: NDArray[np.bool_]
    ) -> Floats:
        """Return the answers to rows that have some values of one row, and the others of background rows.

        Parameters
        ----------
        of
            The background row of each.
        switched
            Rows x features: whether the value is that of ``row``.
        """
        import numpy as np

        if self.fast is not None:
            encoded = self.fast.encoding.rows([row, *background])
            return self.fast.run(np.where(switched, encoded[0], encoded[1:][of]))
        import pandas as pd

        values = np.array([row, *background], dtype=object)
        mixed = np.where(switched, values[0], values[1:][of])
        return self._of_pipeline(pd.DataFrame(mixed, columns=list(self.inputs.names)))[0]

    def _of_pipeline(self, data: pd.DataFrame) -> tuple[Floats, tuple[str, ...]]:
        from evermodel.data.dtypes import feature_frame
        from evermodel.modeling.tasks import predict

        assert self.pipeline is not None
        answers = predict(self.spec, self.pipeline, feature_frame(self.spec, data)[list(self.inputs.names)])
        classes = map(str, self.pipeline.classes_) if answers.ndim == 2 else ()
        return (answers if answers.ndim == 2 else answers[:, None]), tuple(classes)

    def _answers(self, data: pd.DataFrame) -> list[Answer]:
        from evermodel.data.dtypes import feature_frame
        from evermodel.modeling.tasks import scores_and_classes

        assert self.pipeline is not None
        frame = feature_frame(self.spec, data)[list(self.inputs.names)]
        scores, labels = scores_and_classes(self.spec, self.pipeline, frame)
        if len(scores) != len(data):
            raise ModelFormatError(
                f"model {self.name}, version {self.version}: {len(scores)} answers for {len(data)} rows",
                "roll back or retrain",
            )
        return self._checked(scores, labels)

    def _fast_points(self, fast: FastPath, rows: Sequence[Row]) -> tuple[Floats, list[str] | None]:
        answers = fast.answer(rows)
        if self.spec.task != "multiclass":
            return answers[:, 0], None
        best = answers.argmax(axis=1)
        return answers.max(axis=1), [fast.classes[place] for place in best]

    def _checked(self, scores: Floats, labels: list[str] | None) -> list[Answer]:
        found: list[float] = scores.tolist()
        if not self._sound(found):
            wanted = "finite number" if self.spec.numeric_answers else "probability"
            raise ModelFormatError(
                f"model {self.name}, version {self.version}: an answer is not a {wanted}",
                "roll back or retrain",
            )
        if self.threshold is not None:
            return [Answer(score, None, int(score >= self.threshold)) for score in found]
        if labels is None:
            return [Answer(score) for score in found]
        return [Answer(*pair) for pair in zip(found, labels, strict=True)]

    def _sound(self, scores: list[float]) -> bool:
        if self.spec.numeric_answers:
            return all(map(math.isfinite, scores))
        return all(0.0 <= score <= 1.0 for score in scores)


def read_served(spec: ModelSpec, version: str, folder: Path) -> ServedModel:
    """Load a downloaded version; the pipeline only if there is no usable graph.

    Loading a pipeline blocks the interpreter for a long time, and with it the requests of other versions.

    Raises
    ------
    ModelFormatError
        The version cannot be loaded, or cannot score its own example.
    MissingExtraError
        There is no usable graph, and scikit-learn is not installed.
    """
    inputs = Inputs.from_signature(model_store.signature_of(folder), spec)
    fast = _usable(model_store.load_graph(folder), inputs)
    if fast is None:
        with named_extras("serve", "sklearn"):
            served = make_served(spec, version, model_store.load_files(folder, spec.own_code))
            return replace(served, reference=read_reference(folder))
    example = _readable(model_store.example_of(folder), inputs)
    threshold = model_store.threshold_of(folder)
    trained, reference = _as_trained(spec, inputs), read_reference(folder)
    return ServedModel(trained, version, None, inputs, example, fast, threshold, reference)


def _as_trained(spec: ModelSpec, inputs: Inputs) -> ModelSpec:
    numeric = tuple(name for name in inputs.names if name in inputs.numeric)
    return spec.model_copy(update={"features": FeaturesSpec(numeric=numeric, categorical=inputs.categorical)})


def _usable(fast: FastPath | None, inputs: Inputs) -> FastPath | None:
    """Return the graph if its inputs are the signature's features, in their order."""
    return fast if fast is not None and fast.encoding.names == inputs.names else None


def _readable(rows: list[dict[str, Any]], inputs: Inputs) -> dict[str, Any]:
    """Return the row with the fewest missing values, as a request has it."""
    fullest = min(rows, key=lambda row: sum(row.get(name) is None for name in inputs.names))
    return {name: fullest.get(name) for name in inputs.names}


def make_served(spec: ModelSpec, version: str, loaded: LoadedModel) -> ServedModel:
    """Prepare a loaded version and warm it by scoring its stored example.

    Raises
    ------
    ModelFormatError
        The version cannot score its own example.
    """
    inputs = Inputs.from_signature(loaded.inputs, spec)
    trained = _as_trained(spec, inputs)
    served = ServedModel(
        trained,
        version,
        loaded.pipeline,
        inputs,
        _example_row(trained, loaded.example),
        _usable(loaded.fast, inputs),
        loaded.threshold,
    )
    try:
        served._answers(loaded.example)
    except Exception as error:
        raise ModelFormatError(
            f"model {spec.name}, version {version} cannot score its own example ({type(error).__name__}: {error})",
            "roll back or retrain",
        ) from error
    return served


def _example_row(spec: ModelSpec, example: pd.DataFrame) -> dict[str, Any]:
    from evermodel.data.dtypes import feature_frame

    frame = feature_frame(spec, example)
    full = frame.dropna()
    (row,) = (full if len(full) else frame).head(1).to_dict("records")  # values of Python, not of NumPy
    return {str(name): None if value is None or value != value else value for name, value in row.items()}
