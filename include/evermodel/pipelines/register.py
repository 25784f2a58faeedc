"""The step of a retrain that registers: one version for its run key, with the lineage and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evermodel.core.environment import environment_digest, git_commit, thread_count
from evermodel.pipelines.evaluate import read_decision
from evermodel.registry import registry
from evermodel.registry.retrain_run import RetrainRun
from evermodel.registry.tracking import find_run
from evermodel.reports.retrain.log_model_card import card_links, describe_version, record_card
from evermodel.spec.window import split_window, whole_day

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def register_challenger(run: RetrainRun, snapshot: Mapping[str, Any]) -> ModelVersion:
    """Register the challenger of the decision, once, with its lineage."""
    decision = read_decision(run)
    parts = split_window(run.spec, whole_day(run.as_of))
    trained = find_run(run.client, run.spec.name, f"{run.run_key}/{decision.candidate}", kind="candidate")
    assert trained is not None
    links = card_links(run, run.mlflow_run())
    version = registry.register(
        run.client,
        run.spec.name,
        run.run_key,
        source=decision.model_uri,
        run_id=trained.info.run_id,
        description=describe_version(run, decision, links),
        tags={
            "evermodel.as_of": run.as_of.isoformat(),
            "evermodel.train_start": parts.fit.start.isoformat(),
            "evermodel.train_end": parts.fit.end.isoformat(),
            "evermodel.snapshot": snapshot["path"],
            "evermodel.snapshot_md5": snapshot["md5"],
            "evermodel.spec_digest": run.spec.digest,
            "evermodel.git_commit": git_commit(run.settings.models),
            "evermodel.environment_digest": environment_digest(),
            "evermodel.threads": thread_count(),
            "evermodel.fastpath": run.mlflow_run().data.tags.get("evermodel.fastpath", ""),
            "evermodel.decision": decision.digest,
            "evermodel.verdict": decision.verdict,
            "evermodel.forced": str(decision.forced).lower(),
            "evermodel.parent": decision.parent or "",
            "evermodel.reason": run.reason,
            "evermodel.metric": decision.metric,
            "evermodel.metric_value": repr(decision.challenger[0]),
            **links,
        },
    )
    run.mlflow_run({"evermodel.version": str(version.version)})
    record_card(run, decision, version)
    return version
