"""The step of a retrain that evaluates: the best candidate against the champion, on the same rows."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from evermodel.alerts.incidents.store import read_incidents
from evermodel.alerts.year_audit import past_gains
from evermodel.core.errors import ModelFormatError, PromotionError
from evermodel.evaluation.decision import Decision, Gate
from evermodel.evaluation.evaluate import EvaluatedModel, evaluate, score, threshold_of
from evermodel.evaluation.next_window import GainPrediction
from evermodel.modeling.model_store import download, load_files
from evermodel.modeling.onnx.export_if_equal import FOLDER, keep_if_same
from evermodel.modeling.scoring.answer_reference import make_reference, write_reference
from evermodel.modeling.tasks import classes_of, encode
from evermodel.modeling.training import TrainedCandidate, best_of, rows_of
from evermodel.monitoring.summary_tags import decision_tag
from evermodel.registry import tags as tag
from evermodel.registry.lineage import Lineage
from evermodel.registry.model_files import hash_files
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import CHAMPION
from evermodel.registry.retrain_run import DECISION_FILE, RetrainRun
from evermodel.registry.tracking import check_health, log_json, log_metrics, may_pass, read_json
from evermodel.reports.retrain.log_decision_page import record_evidence
from evermodel.spec.window import parse_moment, split_window, whole_day

if TYPE_CHECKING:
    import pandas as pd

    from evermodel.modeling.fitting import TrainingRows
    from evermodel.registry.client import ModelVersion

_YEAR = timedelta(weeks=52)


def evaluate_candidates(
    run: RetrainRun,
    snapshot: str,
    trained: list[TrainedCandidate],
    force_reason: str | None,
    approval: str = "",
) -> Decision:
    """Evaluate the best candidate against the champion on the test part, and write the decision."""
    run.require({tag.SNAPSHOT: snapshot, **dict(one.record(snapshot, run.as_of) for one in trained)})
    chosen = best_of(run.spec, trained)
    version = ModelRegistry(run.client).at_alias(run.spec.name, CHAMPION)
    if version is not None and version.tags.get(tag.RUN_KEY) == run.run_key:
        return read_decision(run)  # this very run was promoted before it was run again
    parts = split_window(run.spec, whole_day(run.as_of))
    rows = rows_of(run.spec, snapshot, parts.test, run.settings)
    features, labels = rows.frame, rows.labels
    champion, unusable = _champion(run, version)
    challenger = _with_reference(run, _with_graph(run, _challenger(run, chosen), features), rows)
    decision = evaluate(
        run.spec,
        run.run_key,
        features,
        labels,
        challenger,
        champion,
        times=rows.times,
        champion_saw=_overlap(version, parts.test.start, parts.test.end),
        unusable=unusable,
        force_reason=force_reason,
        approval=approval,
        vetoes=() if version is None else _quality_veto(run),
        anchor=None if version is None else _anchor(run, version),
        past_gains=() if version is None else _past_gains(run),
        described=rows.described,
    )
    decision = replace(decision, parent=None if version is None else str(version.version))
    _write(run, decision, chosen)
    record_evidence(run, decision, rows, challenger, champion)
    return decision


def read_decision(run: RetrainRun) -> Decision:
    """Read back the decision that `evaluate_candidates` wrote."""
    return Decision.from_json(read_json(run.client, run.read_run().info.run_id, DECISION_FILE))


def _past_gains(run: RetrainRun) -> list[tuple[GainPrediction, float]]:
    found = past_gains(run.spec, run.client, run.as_of)
    return [pair for pair in found if pair[0].metric == run.spec.gate.metric]


def _anchor(run: RetrainRun, champion: ModelVersion) -> EvaluatedModel | None:
    """Load the best version of twelve months; None if that is the champion, or if it is gone."""
    number = Lineage.from_version(champion).anchor
    if not number:
        return None
    try:
        found = ModelRegistry(run.client).version(run.spec.name, number)
    except PromotionError:
        return None
    made = Lineage.from_version(found).as_of
    if made is None or run.as_of - made > _YEAR:
        return None
    return _version(run, found)[0]


def _quality_veto(run: RetrainRun) -> tuple[Gate, ...]:
    """Refuse to ship while the data of the model is known to be bad, unless the spec says otherwise."""
    if run.spec.respond.quality != "veto":
        return ()
    incident = read_incidents(run.client, run.spec.name).of("quality").incident
    if incident is None or parse_moment(incident.opened) > run.as_of:
        return ()
    detail = (
        f"incident {incident.id} is open since {incident.opened[:10]}: {incident.cause or 'bad data'}; "
        "it ends with the first window without the problem (drift DAG)"
    )
    return (Gate("open quality incident", "fail", None, "none", detail),)


def _champion(run: RetrainRun, version: ModelVersion | None) -> tuple[EvaluatedModel | None, str | None]:
    """Load the champion; one that cannot be loaded fails the gate, an unavailable server fails the step."""
    if version is None:
        return None, None
    found, problem = _version(run, version)
    return found, None if found else f"the champion, version {version.version}, cannot be used: {problem}"


def _version(run: RetrainRun, version: ModelVersion) -> tuple[EvaluatedModel | None, str]:
    from mlflow.exceptions import MlflowException

    number = str(version.version)
    try:
        model = _evaluated_model(run, f"version {number}", f"models:/{version.name}/{number}")
        return replace(model, version=number), ""
    except (ModelFormatError, MlflowException, OSError) as error:
        check_health(run.settings.tracking_uri)
        if may_pass(error):
            raise
        said = error.problem if isinstance(error, ModelFormatError) else str(error).split("\n", maxsplit=1)[0]
        return None, said


def _challenger(run: RetrainRun, chosen: TrainedCandidate) -> EvaluatedModel:
    """Load the challenger without the graph that an earlier try of this step put beside it, perhaps in part."""
    return _evaluated_model(run, chosen.candidate, chosen.model_uri, without=FOLDER)


def _evaluated_model(run: RetrainRun, name: str, uri: str, without: str = "") -> EvaluatedModel:
    with tempfile.TemporaryDirectory() as folder:
        files = download(run.client, uri, Path(folder))
        if without:
            shutil.rmtree(Path(folder, without), ignore_errors=True)
            files = {path: digest for path, digest in files.items() if not path.startswith(f"{without}/")}
        model = load_files(Path(folder), run.spec.own_code)
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    return EvaluatedModel(name, model.pipeline, uri, size, model.fast, files, threshold=model.threshold)


def _with_graph(run: RetrainRun, challenger: EvaluatedModel, features: pd.DataFrame) -> EvaluatedModel:
    kept = keep_if_same(
        run.client, challenger.uri, challenger.pipeline, features, threshold_of(run.spec, challenger)
    )
    run.mlflow_run({tag.FASTPATH: kept.note})
    return replace(challenger, fast=kept.fast, files={**challenger.files, **kept.files})


def _with_reference(run: RetrainRun, challenger: EvaluatedModel, rows: TrainingRows) -> EvaluatedModel:
    """Log with the challenger what its answers' intervals and attributions need of the test window."""
    serving = run.spec.serving
    if serving.coverage is None and not serving.explain:
        return challenger
    classes = classes_of(run.spec, rows.labels, challenger.pipeline)
    scores = score(run.spec, challenger, rows.frame, classes)
    reference = make_reference(run.spec, rows.frame, encode(rows.labels, classes), scores)
    with tempfile.TemporaryDirectory() as folder:
        write_reference(reference, Path(folder))
        run.client.log_model_artifacts(challenger.uri.removeprefix("models:/"), folder)
        files = hash_files(Path(folder))
    return replace(challenger, files={**challenger.files, **files})


def _write(run: RetrainRun, decision: Decision, chosen: TrainedCandidate) -> None:
    made = run.mlflow_run(
        {
            tag.VERDICT: decision.verdict,
            tag.SHIP: str(decision.ship).lower(),
            tag.DECISION: decision.digest,
            tag.CANDIDATE: decision.candidate,
            tag.METRIC: decision.metric,
            tag.FORCED: str(decision.forced).lower(),
            **decision_tag(decision),
        }
    )
    run_id = made.info.run_id
    log_json(run.client, run_id, decision.to_json(), DECISION_FILE)
    gain = decision.gain or (None, None, None)
    log_metrics(
        run.client,
        run_id,
        {
            f"test_{decision.metric}": decision.challenger[0],
            f"validation_{decision.metric}": chosen.validation,
            "test_rows": decision.rows,
            f"test_{decision.metric}_champion": decision.champion[0] if decision.champion else None,
            **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
        },
    )


def _overlap(version: ModelVersion | None, start: datetime, end: datetime) -> float:
    """Return the share of the test window that the champion was fitted on."""
    fitted = None if version is None else Lineage.from_version(version).fit_window
    if fitted is None:
        return 0.0
    seen = min(fitted.end, end) - start
    return max(0.0, seen / (end - start))
