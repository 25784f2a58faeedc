"""Calibration of probabilities on held-out rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from evermodel.core.errors import TrainingError

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.tasks import FittedPipeline


def calibrated(
    pipeline: FittedPipeline,
    method: Literal["sigmoid", "isotonic"],
    frame: pd.DataFrame,
    labels: NDArray[Any],
) -> Any:
    """Return the pipeline with its last step calibrated; fitted steps stay unchanged.

    Rows are not weighted here, so that probabilities are those of the real shares also when classes were balanced.

    Parameters
    ----------
    pipeline
        Fitted classifier with its preprocessing.
    frame, labels
        Rows that it was not fitted on.

    Raises
    ------
    TrainingError
        A class of the model has no row here.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.frozen import FrozenEstimator
    from sklearn.pipeline import Pipeline

    missing = sorted({str(name) for name in pipeline.classes_} - {str(name) for name in np.unique(labels)})
    if missing:
        raise TrainingError(
            f"the validation part has no row of class {', '.join(missing)}, so calibration is impossible",
            "widen `split.validation`, or remove `training.calibrate`",
        )
    calibrator = CalibratedClassifierCV(FrozenEstimator(pipeline[-1]), method=method)
    calibrator.fit(pipeline[:-1].transform(frame), labels)
    return Pipeline([*pipeline.steps[:-1], ("calibrated", calibrator)])
