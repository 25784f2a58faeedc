"""Models in MLflow: saved with skops, and loaded only if they contain no executable code."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evermodel.core.errors import ModelFormatError
from evermodel.core.formats import stamped
from evermodel.core.paths import inside
from evermodel.modeling import own_packages
from evermodel.modeling.kept_file import read_kept
from evermodel.modeling.skops_files import checked_dump, packages_of, read_pipeline
from evermodel.registry import tracking
from evermodel.registry.model_files import hash_files, require_judged
from evermodel.spec.features import NO_OWN_CODE, OwnCode

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.onnx.encoding import FastPath
    from evermodel.modeling.onnx.runtime import FastModel
    from evermodel.modeling.tasks import FittedPipeline
    from evermodel.registry.client import LoggedModel, MetricPoint, MlflowClient, ModelVersion, Run


THRESHOLD_FILE = "threshold.json"


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
        What answers in the pipeline's place: its graph, if one was kept beside it and ONNX Runtime is installed, or the
        predictor of its boosting library.
    threshold
        From which on a probability is decided positive; None without a rule for decisions.
    """

    pipeline: FittedPipeline
    example: pd.DataFrame
    inputs: list[dict[str, Any]]
    fast: FastPath | None = None
    threshold: float | None = None


def log_model(
    client: MlflowClient,
    run_id: str,
    pipeline: FittedPipeline,
    example: pd.DataFrame,
    scores: Any,
    requirements: Iterable[str],
    metrics: Iterable[MetricPoint] = (),
    threshold: float | None = None,
    earlier: LoggedModel | None = None,
    own: OwnCode = NO_OWN_CODE,
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
    threshold
        Of its decisions, which is kept with the model; None without one.
    earlier
        A model of the run that an earlier try left behind and nobody uses: it is replaced, and no other is made.
    own
        What the spec lets the model name beside the libraries; the versions of these packages are kept with it.

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

    (_, trusted), run = checked_dump(pipeline, own), client.get_run(run_id)
    packages = own_packages.versions_of(packages_of(trusted))
    logged = earlier or client.create_logged_model(
        run.info.experiment_id, "model", run_id, tags=resolve_tags(), params=run.data.params
    )
    outcome = "FAILED"
    try:
        if logged.model_id not in {output.model_id for output in run.outputs.model_outputs}:
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
            for file, kept in (
                (THRESHOLD_FILE, {} if threshold is None else {"threshold": threshold}),
                (own_packages.FILE, {"packages": packages} if packages else {}),
            ):
                if kept:
                    Path(scratch, "model", file).write_text(json.dumps(stamped(kept)), encoding="utf-8")
            client.log_model_artifacts(logged.model_id, f"{scratch}/model")
        outcome = "READY"
    finally:
        client.finalize_logged_model(logged.model_id, outcome)
    return str(logged.model_uri)


def models_of(client: MlflowClient, run: Run) -> dict[str, LoggedModel]:
    """Return the models that a run has logged, by URI."""
    found = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'", max_results=50
    )
    return {str(model.model_uri): model for model in found}


def is_ready(model: LoggedModel) -> bool:
    """Tell whether a model was logged to its end."""
    return str(model.status) == "READY"


def download(
    client: MlflowClient, uri: str, folder: Path, known: ModelVersion | None = None
) -> dict[str, str]:
    """Download a model's files into an empty folder, and check those of a version against its decision.

    Parameters
    ----------
    uri
        ``models:/name/version`` or ``models:/m-...``.
    folder
        Where the files go; kept, so that it can serve as a cache.
    known
        The version, if it was read just now.

    Returns
    -------
    SHA-256 of every file, by its path in the folder.

    Raises
    ------
    ModelChangedError
        The files of the version are not those that were evaluated.
    """
    name, _, version = uri.removeprefix("models:/").partition("/")
    if version:
        place = client.get_model_version_download_uri(name, version)
    else:
        place = client.get_logged_model(name).artifact_location
    folder.mkdir(parents=True, exist_ok=True)
    # `mlflow.artifacts.download_artifacts` would look the model up in the process's own registry.
    tracking.download(client, place, "", folder)
    files = hash_files(folder)
    if version:
        require_judged(client, known or client.get_model_version(name, version), files)
    return files


def load_model(client: MlflowClient, uri: str, folder: Path, own: OwnCode = NO_OWN_CODE) -> LoadedModel:
    """Download a model (see `download`) and load it without running code from it.

    Parameters
    ----------
    own
        What the spec lets the model name beside the libraries; see `read_pipeline`.

    Raises
    ------
    ModelFormatError
        The model is a pickle, lists types that could run code, or was stored with another version of a package of your own.
    """
    download(client, uri, folder)
    return load_files(folder, own)


def load_files(folder: Path, own: OwnCode = NO_OWN_CODE) -> LoadedModel:
    """Load a model from its downloaded folder; see `load_model`."""
    import pandas as pd

    from evermodel.modeling.onnx.encoded import encoded_model

    meta = _metadata(folder)
    flavor = meta.get("flavors", {}).get("sklearn", {})
    if flavor.get("serialization_format") != "skops":
        raise ModelFormatError(
            f"{folder}: the model is stored as {flavor.get('serialization_format', 'something unknown')}, "
            "a format that runs code when loaded",
            "register a model trained by the retrain DAG (stored with skops)",
        )
    own_packages.require_versions(folder)
    pipeline = read_pipeline(inside(folder, str(flavor.get("pickled_model"))), own)
    inputs = _signature_inputs(meta, folder)
    example = pd.read_json(_example_file(folder, meta), orient="split")[[column["name"] for column in inputs]]
    fast = load_graph(folder) or encoded_model(pipeline, example)
    return LoadedModel(pipeline, example, inputs, fast, threshold_of(folder))


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


def threshold_of(folder: Path) -> float | None:
    """Return the threshold that was kept with a downloaded model; None without one.

    Raises
    ------
    ModelFormatError
        The file is damaged.
    """
    return read_kept(folder / THRESHOLD_FILE, "no readable threshold", lambda kept: float(kept["threshold"]))


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
    stored = json.loads(_example_file(folder, _metadata(folder)).read_text(encoding="utf-8"))
    return [dict(zip(stored["columns"], row, strict=True)) for row in stored["data"]]


def _metadata(folder: Path) -> dict[str, Any]:
    try:
        meta = _parsed((folder / "MLmodel").read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ModelFormatError(
            f"{folder}: no readable MLmodel file ({error})", "retrain or roll back"
        ) from error
    if not isinstance(meta, dict) or "saved_input_example_info" not in meta:
        raise ModelFormatError(
            f"{folder}: the model has no signature or input example", "retrain or roll back"
        )
    return meta


@lru_cache(maxsize=8)
def _parsed(text: str) -> Any:
    """Parse YAML; each load of a model needs the same text several times."""
    return yaml.safe_load(text)


def _example_file(folder: Path, meta: dict[str, Any]) -> Path:
    return inside(folder, str(meta["saved_input_example_info"]["artifact_path"]))


def _signature_inputs(meta: dict[str, Any], folder: Path) -> list[dict[str, Any]]:
    try:
        inputs: list[dict[str, Any]] = json.loads(meta["signature"]["inputs"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelFormatError(f"{folder}: the model has no signature", "retrain or roll back") from error
    return inputs
