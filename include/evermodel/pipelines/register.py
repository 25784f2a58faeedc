"""The step of a retrain that registers: one version for its run key, with the lineage and the model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from evermodel.core.environment import environment_digest, git_commit, thread_count
from evermodel.pipelines.evaluate import read_decision
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.retrain_run import RetrainRun
from evermodel.registry.tags import (
    AS_OF,
    DECISION,
    ENVIRONMENT_DIGEST,
    FASTPATH,
    FORCED,
    GIT_COMMIT,
    METRIC,
    METRIC_VALUE,
    PARENT,
    REASON,
    SNAPSHOT,
    SNAPSHOT_MD5,
    SPEC_DIGEST,
    THREADS,
    TRAIN_END,
    TRAIN_START,
    VERDICT,
    VERSION,
)
from evermodel.registry.tracking import find_run
from evermodel.reports.retrain.log_model_card import card_links, describe_version, record_card
from evermodel.spec.window import split_window, whole_day

if TYPE_CHECKING:
    from evermodel.registry.client import ModelVersion


def register_challenger(run: RetrainRun, snapshot: Mapping[str, Any]) -> ModelVersion:
    """Register the challenger of the decision, once, with its lineage."""
    decision = read_decision(run)
    parts = split_window(run.spec, whole_day(run.as_of))
    trained = find_run(run.client, run.spec.name, f"{run.run_key}/{decision.candidate}", kind="candidate")
    assert trained is not None
    links = card_links(run, run.mlflow_run())
    version = ModelRegistry(run.client).register(
        run.spec.name,
        run.run_key,
        source=decision.model_uri,
        run_id=trained.info.run_id,
        description=describe_version(run, decision, links),
        tags={
            AS_OF: run.as_of.isoformat(),
            TRAIN_START: parts.fit.start.isoformat(),
            TRAIN_END: parts.fit.end.isoformat(),
            SNAPSHOT: snapshot["path"],
            SNAPSHOT_MD5: snapshot["md5"],
            SPEC_DIGEST: run.spec.digest,
            GIT_COMMIT: git_commit(run.settings.models),
            ENVIRONMENT_DIGEST: environment_digest(),
            THREADS: thread_count(),
            FASTPATH: run.mlflow_run().data.tags.get(FASTPATH, ""),
            DECISION: decision.digest,
            VERDICT: decision.verdict,
            FORCED: str(decision.forced).lower(),
            PARENT: decision.parent or "",
            REASON: run.reason,
            METRIC: decision.metric,
            METRIC_VALUE: repr(decision.challenger[0]),
            **links,
        },
    )
    run.mlflow_run({VERSION: str(version.version)})
    record_card(run, decision, version)
    return version
