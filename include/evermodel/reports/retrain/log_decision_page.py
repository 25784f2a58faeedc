"""Logs the evidence of a decision to MLflow: the page, its numbers, and the values for MLflow's run comparison."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from evermodel.core.dag_ids import dag_id
from evermodel.registry.tags import GIT_COMMIT, SNAPSHOT, SNAPSHOT_MD5
from evermodel.registry.tracking import artifact_url, find_run, log_json, log_metrics, may_pass, run_url
from evermodel.reports.retrain.decision_page import decision_page
from evermodel.reports.retrain.numbers import EVIDENCE_FILE, numbers_of, permutation_importance
from evermodel.reports.retrain.scored_sample import ScoredSample, score_sample
from evermodel.spec.window import split_window, whole_day

if TYPE_CHECKING:
    from evermodel.evaluation.decision import Decision
    from evermodel.evaluation.evaluated_model import EvaluatedModel
    from evermodel.modeling.fitting import TrainingRows
    from evermodel.registry.client import Run
    from evermodel.registry.retrain_run import RetrainRun

_LOG = logging.getLogger(__name__)


def record_evidence(
    retrain: RetrainRun,
    decision: Decision,
    rows: TrainingRows,
    challenger: EvaluatedModel,
    champion: EvaluatedModel | None,
) -> None:
    """Render the decision page and log it with its numbers to the MLflow run of the retrain.

    The decision is already stored; errors here are logged as warnings. Those of a server that fails at the moment are
    raised: the next try logs the page.
    """
    try:
        run = retrain.mlflow_run()
        trial = score_sample(retrain.spec, decision, rows, challenger, champion)
        numbers = numbers_of(trial, permutation_importance(trial))
        log_metrics(retrain.client, run.info.run_id, numbers.flat())
        log_json(retrain.client, run.info.run_id, asdict(numbers), EVIDENCE_FILE)
        _log_choice(retrain, run, decision)
        uri, settings = retrain.settings.tracking_uri, retrain.settings
        links = {
            **evidence_links(uri, run, registered=decision.ship),
            "Decision as data": artifact_url(uri, run, "decision.json"),
            "Spec": artifact_url(uri, run, "spec.json"),
            "Retrain DAG": f"{settings.airflow_url}/dags/{dag_id('retrain', retrain.spec.name)}",
        }
        page = decision_page(trial, numbers, page_facts(retrain, run, trial), links)
        retrain.client.log_text(run.info.run_id, page, PAGE_FILE)
    except Exception as error:  # a failing plot must not lose a decision
        if may_pass(error):
            raise
        _LOG.warning(
            "the decision page of %s could not be rendered; the decision is unaffected",
            retrain.run_key,
            exc_info=True,
        )


def page_facts(retrain: RetrainRun, run: Run, trial: ScoredSample) -> dict[str, object]:
    """Return the origin of a retrain's data and code."""
    parts, tags = split_window(retrain.spec, whole_day(retrain.as_of)), run.data.tags
    return {
        "as of": f"{retrain.as_of:%Y-%m-%d}",
        "reason for the retrain": retrain.reason,
        "fitted on (train and validation)": parts.fit,
        "tested on": parts.test,
        "test rows": f"{trial.decision.rows:,}",
        "snapshot": tags.get(SNAPSHOT, "unknown"),
        "snapshot md5 (DVC)": tags.get(SNAPSHOT_MD5, "unknown"),
        "spec digest": retrain.spec.digest,
        "git commit": tags.get(GIT_COMMIT, "unknown"),
        "model": trial.decision.model_uri,
        "run key": retrain.run_key,
    }


def _log_choice(retrain: RetrainRun, run: Run, decision: Decision) -> None:
    """Log the chosen candidate with the parameters that its own run was fitted with.

    MLflow refuses to change a parameter, so parameters of an earlier attempt stay.
    """
    from mlflow.entities import Param

    key = f"{retrain.run_key}/{decision.candidate}"
    trained = find_run(retrain.client, retrain.spec.name, key, kind="candidate")
    chosen = next(c for c in retrain.spec.candidates if c.name == decision.candidate)
    params = {} if trained is None else trained.data.params
    wanted = {"candidate": chosen.name, "estimator": chosen.estimator}
    wanted |= {name: value for name, value in params.items() if name.startswith("params.")}
    new = [Param(name, value) for name, value in wanted.items() if name not in run.data.params]
    retrain.client.log_batch(run.info.run_id, params=new)


PAGE_FILE = "decision.html"
CARD_FILE = "model_card.html"
CARD_SOURCE = "model_card.md"


def evidence_links(tracking_uri: str, run: Run, *, registered: bool = True) -> dict[str, str]:
    """Return label and address of decision page, model card and run.

    Parameters
    ----------
    registered
        False leaves out the model card: only a registered version has one.
    """
    card = {"Model card": artifact_url(tracking_uri, run, CARD_FILE)} if registered else {}
    page = artifact_url(tracking_uri, run, PAGE_FILE)
    return {"Decision": page, **card, "MLflow run": run_url(tracking_uri, run)}
