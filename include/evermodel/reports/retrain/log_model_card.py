"""Write the card of a registered version to MLflow, beside its decision."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from evermodel.registry import tags as tag
from evermodel.registry.tracking import artifact_url, may_pass, read_json
from evermodel.reports.retrain.log_decision_page import CARD_FILE, CARD_SOURCE, PAGE_FILE, evidence_links
from evermodel.reports.retrain.model_card import Card, Tried
from evermodel.reports.retrain.numbers import EVIDENCE_FILE

if TYPE_CHECKING:
    from evermodel.evaluation.decision import Decision
    from evermodel.registry.client import ModelVersion, Run
    from evermodel.registry.retrain_run import RetrainRun

_LOG = logging.getLogger(__name__)
_TOLD = {
    tag.PARENT: "parent (champion at the time)",
    tag.REASON: "reason for the retrain",
    tag.SNAPSHOT: "snapshot",
    tag.SNAPSHOT_MD5: "snapshot md5 (DVC)",
    tag.SPEC_DIGEST: "spec digest",
    tag.GIT_COMMIT: "git commit",
    tag.DECISION: "decision digest",
    tag.RUN_KEY: "run key",
}


def card_links(retrain: RetrainRun, run: Run) -> dict[str, str]:
    """Return the tags of a version with the links to its reports."""
    uri = retrain.settings.tracking_uri
    return {
        tag.DECISION_PAGE: artifact_url(uri, run, PAGE_FILE),
        tag.MODEL_CARD: artifact_url(uri, run, CARD_FILE),
    }


def describe_version(retrain: RetrainRun, decision: Decision, links: dict[str, str]) -> str:
    """Return the description of a version, which MLflow shows as Markdown."""
    return (
        f"{decision.candidate}, trained as of {retrain.as_of:%Y-%m-%d}: {retrain.reason}\n\n"
        f"[Model card](<{links[tag.MODEL_CARD]}>) · [Decision](<{links[tag.DECISION_PAGE]}>)"
    )


def record_card(retrain: RetrainRun, decision: Decision, version: ModelVersion) -> None:
    """Log the model card of a version; errors are logged as warnings and do not affect the version.

    Those of a server that fails at the moment are raised: the next try logs the card.
    """
    try:
        run = retrain.mlflow_run()
        card = _card(retrain, run, decision, version)
        retrain.client.log_text(run.info.run_id, card.markdown(), CARD_SOURCE)
        retrain.client.log_text(run.info.run_id, card.html(), CARD_FILE)
    except Exception as error:  # a failing card must not block a version
        if may_pass(error):
            raise
        _LOG.warning(
            "the model card of %s could not be rendered; the version is unaffected",
            retrain.run_key,
            exc_info=True,
        )


def _card(retrain: RetrainRun, run: Run, decision: Decision, version: ModelVersion) -> Card:
    tags = version.tags
    lineage = {label: tags.get(key) or "none" for key, label in _TOLD.items()}
    reproduce = f"evermodel reproduce {retrain.spec.name} {version.version}"
    return Card(
        spec=retrain.spec,
        version=str(version.version),
        as_of=retrain.as_of,
        decision=decision,
        tried=_tried(retrain, run),
        evidence=_evidence(retrain, run),
        lineage={**lineage, "model": decision.model_uri, "reproduce with": reproduce},
        links=evidence_links(retrain.settings.tracking_uri, run, registered=False),
    )


def _evidence(retrain: RetrainRun, run: Run) -> dict[str, Any]:
    names = {file.path for file in retrain.client.list_artifacts(run.info.run_id)}
    found: dict[str, Any] = (
        read_json(retrain.client, run.info.run_id, EVIDENCE_FILE) if EVIDENCE_FILE in names else {}
    )
    return found


def _tried(retrain: RetrainRun, run: Run) -> list[Tried]:
    """Return the trained candidates, in the order of the spec."""
    children = retrain.client.search_runs(
        [run.info.experiment_id],
        filter_string=f"tags.`mlflow.parentRunId` = '{run.info.run_id}' and tags.`{tag.KIND}` = 'candidate'",
    )
    found = {child.data.tags["mlflow.runName"]: child.data for child in children}
    return [
        Tried(
            name=candidate.name,
            estimator=candidate.estimator,
            params={
                key.removeprefix("params."): value
                for key, value in found[candidate.name].params.items()
                if key.startswith("params.")
            },
            metrics=found[candidate.name].metrics,
        )
        for candidate in retrain.spec.candidates
        if candidate.name in found
    ]
