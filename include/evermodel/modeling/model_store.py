"""Models in MLflow: saved with skops, and loaded only if they contain no executable code."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import yaml

from evermodel.core.atomic import replacing
from evermodel.core.errors import ModelFormatError
from evermodel.registry.model_files import hash_files, require_judged

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.onnx.runtime import FastModel
    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.registry.client import MetricPoint, MlflowClient

# Types outside skops' own list that a model may contain; each is plain data of numpy or scikit-learn.
TRUSTED_TYPES = (
    "collections.OrderedDict",
    "evermodel.modeling.user_features.UserFeatures",  # the name of an installed module and of columns
    "functools.partial",  # what it wraps is checked as well
    "numpy.dtype",
    "sklearn._loss.link.Interval",
    "sklearn._loss.link.LogitLink",
    "sklearn._loss.link.IdentityLink",
    "sklearn._loss.loss.HalfBinomialLoss",
    "sklearn.calibration._CalibratedClassifier",  # a classifier and its calibrators, which are checked as well
    "sklearn.calibration._SigmoidCalibration",  # two numbers
    "sklearn.compose._column_transformer._RemainderColsList",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.tree._tree.Tree",  # arrays of nodes; scikit-learn checks their types and sizes
    "sklearn.utils.validation.check_array",
)
_TRUSTED_PREFIXES = ("lightgbm.", "xgboost.")
# Classes by the path that earlier releases stored, and the module that has them now.
MOVED_TYPES = {"evermodel.user_features.UserFeatures": "evermodel.modeling.user_features"}


@dataclass(frozen=True)
class LoadedModel:
    """A model in memory.

    Parameters
    ----------
    pipeline
        The fitted scikit-learn pipeline, preprocessing included.
    example
        A few input rows as they looked in training.
    inputs
        The signature's inputs: one mapping with ``name`` and ``type`` for each feature.
    fast
        The model's graph, if one was kept beside it and ONNX Runtime is installed.
    """

    pipeline: FittedPipeline
    example: pd.DataFrame
    inputs: list[dict[str, Any]]
    fast: FastModel | None = None


def log_model(
    client: MlflowClient,
    run_id: str,
    pipeline: FittedPipeline,
    example: pd.DataFrame,
    scores: Any,
    requirements: Iterable[str],
    metrics: Iterable[MetricPoint] = (),
) -> str:
    """Log a fitted pipeline as a model of an MLflow run, with signature and input example.

    Parameters
    ----------
    pipeline
        Fitted scikit-learn pipeline.
    example
        Input rows, as in training; the first five are stored.
    scores
        What the pipeline answers for ``example``.
    requirements
        Pinned packages that a loader needs.
    metrics
        Metrics of the run that are the model's as well.

    Returns
    -------
    URI of the logged model.

    Raises
    ------
    ModelFormatError
        The pipeline holds types that are not plain data.
    """
    # What `mlflow.sklearn.log_model` does, which logs to the process's own server and loads the model once more.
    import mlflow.sklearn
    from mlflow.entities import LoggedModelOutput, Metric
    from mlflow.models import Model, infer_signature
    from mlflow.tracking.context.registry import resolve_tags

    trusted, run = _allowed_types(pipeline), client.get_run(run_id)
    logged = client.create_logged_model(
        run.info.experiment_id, "model", run_id, tags=resolve_tags(), params=run.data.params
    )
    outcome = "FAILED"
    try:
        client.log_outputs(run_id, [LoggedModelOutput(logged.model_id, step=0)])
        points = [
            Metric(m.key, m.value, m.timestamp, m.step, logged.model_id, run_id=run_id) for m in metrics
        ]
        client.log_batch(run_id, metrics=points)
        with tempfile.TemporaryDirectory() as scratch:
            mlflow.sklearn.save_model(
                pipeline,
                f"{scratch}/model",
                mlflow_model=Model(
                    logged.artifact_location, run_id, model_uuid=logged.model_id, model_id=logged.model_id
                ),
                serialization_format="skops",
                skops_trusted_types=trusted,
                pip_requirements=list(requirements),
                signature=infer_signature(example, scores),
                input_example=example.head(5),
                pyfunc_predict_fn="predict_proba" if hasattr(pipeline, "predict_proba") else "predict",
            )
            client.log_model_artifacts(logged.model_id, f"{scratch}/model")
        outcome = "READY"
    finally:
        client.finalize_logged_model(logged.model_id, outcome)
    return str(logged.model_uri)


def download(client: MlflowClient, uri: str, folder: Path) -> dict[str, str]:
    """Download a model's files into an empty folder, and check those of a version against its decision.

    Parameters
    ----------
    uri
        ``models:/name/version`` or ``models:/m-...``.
    folder
        Where the files go; kept, so that it can serve as a cache.

    Returns
    -------
    SHA-256 of every file, by its path in the folder.

    Raises
    ------
    ModelChangedError
        The files of the version are not those that were evaluated.
    """
    # `mlflow.artifacts.download_artifacts` would look the model up in the process's own registry.
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    name, _, version = uri.removeprefix("models:/").partition("/")
    if version:
        place = client.get_model_version_download_uri(name, version)
    else:
        place = client.get_logged_model(name).artifact_location
    folder.mkdir(parents=True, exist_ok=True)
    get_artifact_repository(place, client.tracking_uri).download_artifacts("", str(folder))
    files = hash_files(folder)
    if version:
        require_judged(client, client.get_model_version(name, version), files)
    return files


def load_model(client: MlflowClient, uri: str, folder: Path) -> LoadedModel:
    """Download a model (see `download`) and load it without running code from it.

    Raises
    ------
    ModelFormatError
        The model is a pickle, or lists types that could run code.
    """
    download(client, uri, folder)
    return load_files(folder)


def load_files(folder: Path) -> LoadedModel:
    """Load a model from its downloaded folder; see `load_model`."""
    import pandas as pd

    meta = _metadata(folder)
    flavor = meta.get("flavors", {}).get("sklearn", {})
    if flavor.get("serialization_format") != "skops":
        raise ModelFormatError(
            f"{folder}: the model is stored as {flavor.get('serialization_format', 'something unknown')}, "
            "a format that runs code when loaded",
            "register a model trained by the retrain DAG (stored with skops)",
        )
    pipeline = _load_skops(folder / str(flavor.get("pickled_model")), folder)
    inputs = _signature_inputs(meta, folder)
    example = pd.read_json(folder / meta["saved_input_example_info"]["artifact_path"], orient="split")
    return LoadedModel(pipeline, example[[column["name"] for column in inputs]], inputs, load_graph(folder))


def load_graph(folder: Path) -> FastModel | None:
    """Load the graph beside a downloaded model; None if it has none, or ONNX Runtime is not installed.

    Raises
    ------
    ModelFormatError
        The graph is damaged, or is not the one that was kept for this model.
    """
    from evermodel.modeling.onnx import export_if_equal as keep
    from evermodel.modeling.onnx import runtime

    files = folder / keep.FOLDER
    if not files.is_dir():
        return None
    try:
        fast = runtime.read(files)
        sound = keep.holds_example(fast, files)
    except ImportError:
        return None
    except Exception as error:
        raise ModelFormatError(
            f"{folder}: the graph cannot be read ({error})", "retrain or roll back"
        ) from error
    if not sound:
        raise ModelFormatError(
            f"{folder}: the graph's answers to the stored example differ from the pipeline's",
            "retrain or roll back",
        )
    return fast


def signature_of(folder: Path) -> list[dict[str, Any]]:
    """Return the inputs of a downloaded model's signature: one mapping with ``name`` and ``type`` for each feature.

    Raises
    ------
    ModelFormatError
        There is no readable signature.
    """
    return _signature_inputs(_metadata(folder), folder)


def example_of(folder: Path) -> list[dict[str, Any]]:
    """Return the stored input example of a downloaded model, as rows."""
    import json

    path = folder / _metadata(folder)["saved_input_example_info"]["artifact_path"]
    stored = json.loads(path.read_text(encoding="utf-8"))
    return [dict(zip(stored["columns"], row, strict=True)) for row in stored["data"]]


def write_pipeline(pipeline: FittedPipeline, file: Path) -> None:
    """Write a fitted pipeline as one skops file, atomically.

    Raises
    ------
    ModelFormatError
        The pipeline holds types that are not plain data.
    """
    _allowed_types(pipeline)
    with replacing(file) as temporary:
        _skops_io().dump(pipeline, temporary)


def read_pipeline(file: Path) -> FittedPipeline:
    """Load what `write_pipeline` wrote, without running code from it.

    Raises
    ------
    ModelFormatError
        The file is damaged, or lists types that could run code.
    """
    return _load_skops(file, file.parent)


def _load_skops(file: Path, folder: Path) -> FittedPipeline:
    skops_io = _skops_io()
    try:
        types = skops_io.get_untrusted_types(file=file)
    except (OSError, BadZipFile, KeyError, ValueError) as error:
        raise ModelFormatError(
            f"{folder}: {file.name} is not a readable skops file ({error})",
            "retrain or roll back",
        ) from error
    for moved in MOVED_TYPES.keys() & set(types):
        sys.modules.setdefault(moved.rpartition(".")[0], import_module(MOVED_TYPES[moved]))
    pipeline: FittedPipeline = skops_io.load(file, trusted=_refuse_others(types, folder))
    return pipeline


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        meta = yaml.safe_load((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ModelFormatError(
            f"{folder}: no readable MLmodel file ({error})", "retrain or roll back"
        ) from error
    if not isinstance(meta, dict) or "saved_input_example_info" not in meta:
        raise ModelFormatError(
            f"{folder}: the model has no signature or input example", "retrain or roll back"
        )
    return meta


def _signature_inputs(meta: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    import json

    try:
        inputs: list[dict[str, Any]] = json.loads(meta["signature"]["inputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{folder}: the model has no signature", "retrain or roll back") from error
    return inputs


def _refuse_others(types: Iterable[str], where: object) -> list[str]:
    kept = list(types)
    known = {*TRUSTED_TYPES, *MOVED_TYPES}
    refused = [t for t in kept if t not in known and not t.startswith(_TRUSTED_PREFIXES)]
    if refused:
        raise ModelFormatError(
            f"{where}: the model contains untrusted types: {', '.join(sorted(refused))}",
            "use estimators of scikit-learn, lightgbm or xgboost",
        )
    return kept


def _allowed_types(pipeline: FittedPipeline) -> list[str]:
    skops_io = _skops_io()
    return _refuse_others(
        skops_io.get_untrusted_types(data=skops_io.dumps(pipeline)), type(pipeline).__name__
    )


def _skops_io() -> Any:
    """Import skops quietly: it looks at every attribute of every loaded module, and Airflow's old ones complain."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import skops.io
    return skops.io
