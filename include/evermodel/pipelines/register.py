"""The step of a retrain that registers: one version for its run key, with the lineage and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evermodel.core.environment import environment_digest, git_commit, thread_count
from evermodel.deployment.eligibility import require_ship
from evermodel.pipelines.evaluate import read_decision
from evermodel.registry import tags as tag
from evermodel.registry.lineage import Lineage
from evermodel.registry.model_files import content_digest
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import RetrainRun
from evermodel.registry.tracking import find_run
from evermodel.reports.retrain.log_model_card import card_links, describe_version, record_card
from evermodel.spec.window import split_window, whole_day

if TYPE_CHECKING:
    from evermodel.registry.client import ModelVersion


def register_challenger(run: RetrainRun, snapshot: Mapping[str, Any]) -> ModelVersion:
    """Register the challenger of the decision, once, with its lineage.

    Raises
    ------
    PromotionError
        The decision is no.
    """
    decision = read_decision(run)
    require_ship(decision)
    trained = find_run(run.client, run.spec.name, f"{run.run_key}/{decision.candidate}", kind="candidate")
    assert trained is not None
    made = Lineage(
        as_of=run.as_of,
        fit_window=split_window(run.spec, whole_day(run.as_of)).fit,
        snapshot=snapshot["path"],
        snapshot_md5=snapshot["md5"],
        spec_digest=run.spec.digest,
        git_commit=git_commit(run.settings.models),
        environment_digest=environment_digest(),
        threads=thread_count(),
        fastpath=run.mlflow_run().data.tags.get(tag.FASTPATH, ""),
        decision=decision.digest,
        content=content_digest(decision.files) if decision.files else "",
        verdict=decision.verdict,
        forced=decision.forced,
        parent=decision.parent or "",
        reason=run.reason,
        metric=decision.metric,
        metric_value=decision.challenger[0],
    )
    links = card_links(run, run.mlflow_run())
    version = ModelRegistry(run.client).register(
        run.spec.name,
        run.run_key,
        source=decision.model_uri,
        run_id=trained.info.run_id,
        description=describe_version(run, decision, links),
        tags={**made.to_tags(), **links},
    )
    run.mlflow_run({tag.VERSION: str(version.version)})
    record_card(run, decision, version)
    return version
