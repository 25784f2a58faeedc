"""The steps of a retrain, each idempotent by run key; the DAG's operators call one each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evermodel.core.environment import (
    environment_digest,
    git_commit,
    installed_packages,
    processor,
    thread_count,
)
from evermodel.core.errors import PromotionError
from evermodel.core.settings import Settings
from evermodel.core.storage import is_url
from evermodel.data.snapshots.snapshot import Snapshot, take_snapshot
from evermodel.data.snapshots.store import snapshot_store
from evermodel.deployment.eligibility import promote, require_approval, require_ship
from evermodel.deployment.rollout.moves import stop_active_rollout
from evermodel.evaluation.decision import Decision
from evermodel.evaluation.next_window import GainPrediction
from evermodel.modeling.training import TrainedCandidate, train_candidate
from evermodel.pipelines.evaluate import evaluate_candidates, read_decision
from evermodel.pipelines.validate import Validated, validate_snapshot
from evermodel.registry import tags as tag
from evermodel.registry.approval import AUTO, Approval, record_answer
from evermodel.registry.audit import audit
from evermodel.registry.lineage import Lineage
from evermodel.registry.model_files import content_digest
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.retrain_run import RetrainRun
from evermodel.registry.tags import RetrainOutcome
from evermodel.registry.tracking import find_run, log_json
from evermodel.reports.retrain.log_model_card import card_links, describe_version, record_card
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.window import split_window, whole_day

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, ModelVersion, Run


@dataclass(frozen=True)
class Retrain(RetrainRun):
    """The steps of one retrain; see `RetrainRun` for its identity."""

    def extract(self) -> Snapshot:
        """Take the snapshot and record it on the MLflow run, as dataset input and by tags."""
        snapshot = take_snapshot(self.spec, self.as_of, self.settings)
        run = self.mlflow_run(
            {
                tag.SNAPSHOT: snapshot.path,
                tag.SNAPSHOT_EXTRACTED: str(snapshot),
                tag.SNAPSHOT_MD5: snapshot.md5,
                tag.WINDOW: f"{snapshot.start}/{snapshot.end}",
                tag.SPEC_DIGEST: self.spec.digest,
                tag.GIT_COMMIT: git_commit(self.settings.models),
            }
        )
        log_json(self.client, run.info.run_id, self.spec.unexpanded(), "spec.json")
        self.client.log_text(run.info.run_id, installed_packages(), "environment.txt")
        _log_dataset(self.client, run, self.spec, snapshot, self.settings)
        return snapshot

    def validate(self, snapshot: Snapshot) -> Validated:
        """Check the snapshot; see `validate_snapshot`."""
        return validate_snapshot(self, snapshot)

    def train(self, candidate: CandidateSpec, snapshot: str) -> TrainedCandidate:
        """Train one candidate, and record the outcome on the MLflow run; see `train_candidate`."""
        run = self.mlflow_run()
        trained = train_candidate(
            self.spec,
            candidate,
            snapshot=snapshot,
            as_of=self.as_of,
            run_key=self.run_key,
            parent_run=run.info.run_id,
            client=self.client,
            settings=self.settings,
            recorded=run.data.tags.get(tag.TRAINED + candidate.name, ""),
        )
        self.mlflow_run(dict([trained.record(snapshot, self.as_of)]))
        return trained

    def evaluate(
        self, snapshot: str, trained: list[TrainedCandidate], force_reason: str | None, approval: str = ""
    ) -> Decision:
        """Evaluate the best candidate against the champion on the test part, and write the decision."""
        return evaluate_candidates(self, snapshot, trained, force_reason, approval)

    def decision(self) -> Decision:
        """Read back the decision that `evaluate` wrote."""
        return read_decision(self)

    def register(self, snapshot: Mapping[str, Any]) -> ModelVersion:
        """Register the challenger once, with lineage and model card; raises `PromotionError` if it may not ship."""
        decision = self.decision()
        require_ship(decision)
        self.require({tag.SNAPSHOT: snapshot["path"], tag.SNAPSHOT_MD5: snapshot["md5"]})
        trained = find_run(
            self.client, self.spec.name, f"{self.run_key}/{decision.candidate}", kind="candidate"
        )
        assert trained is not None
        made = Lineage(
            as_of=self.as_of,
            fit_window=split_window(self.spec, whole_day(self.as_of)).fit,
            snapshot=snapshot["path"],
            snapshot_md5=snapshot["md5"],
            spec_digest=self.spec.digest,
            git_commit=git_commit(self.settings.models),
            environment_digest=environment_digest(),
            threads=thread_count(),
            processor=processor(),
            fastpath=self.mlflow_run().data.tags.get(tag.FASTPATH, ""),
            threshold="" if decision.threshold is None else repr(decision.threshold),
            decision=decision.digest,
            content=content_digest(decision.files) if decision.files else "",
            verdict=decision.verdict,
            forced=decision.forced,
            parent=decision.parent or "",
            anchor=decision.anchor,
            gate_prediction=_prediction_text(self, decision),
            reason=self.reason,
            metric=decision.metric,
            metric_value=decision.challenger[0],
        )
        links = card_links(self, self.mlflow_run())
        version = ModelRegistry(self.client).register(
            self.spec.name,
            self.run_key,
            source=decision.model_uri,
            run_id=trained.info.run_id,
            description=describe_version(self, decision, links),
            tags={**made.to_tags(), **links},
        )
        if version.tags.get(tag.DECISION) != decision.digest:  # evaluated again, against another champion
            for key, value in made.to_tags().items():
                self.client.set_model_version_tag(self.spec.name, str(version.version), key, value)
            for key in made.outdated(version):
                self.client.delete_model_version_tag(self.spec.name, str(version.version), key)
        self.mlflow_run({tag.VERSION: str(version.version)})
        record_card(self, decision, version)
        return version

    def deploy(self, version: str, by: str = AUTO) -> Promotion:
        """Promote the version, if the champion is still the one that the decision compared it with.

        Parameters
        ----------
        by
            Who approves it now; ``auto``: nobody, so that the version has an approval or its decision requires none.

        Raises
        ------
        ApprovalError
            The version is not approved, was rejected, or the decision has changed since.
        PromotionError
            The decision is no, or the version is another run's.
        """
        found, decision, answer = self._approved(version, by)
        registry = ModelRegistry(self.client)
        with registry.holding(self.spec.name) as held:
            promotion = promote(
                registry,
                held,
                version,
                expected=decision.parent,
                by=answer.by,
                reason=answer.reason(self.reason),
                run_key=self.run_key,
                known=(found, decision),
            )
        why = f"version {version} was promoted: {self.reason}"
        stop_active_rollout(self.client, held.entry, why, promotion.version, promotion.by)
        self.mlflow_run({tag.OUTCOME: RetrainOutcome.DEPLOYED, tag.VERSION: version})
        return promotion

    def ask_for_rollout(self, version: str, by: str = AUTO) -> dict[str, Any]:
        """Record the approval, and return the request for the version's rollout; see `deploy`."""
        *_, answer = self._approved(version, by)
        self.mlflow_run({tag.OUTCOME: RetrainOutcome.ROLLING_OUT, tag.VERSION: version})
        reason, run_key = answer.reason(self.reason), f"rollout/{self.run_key}"
        return {"version": version, "by": answer.by, "reason": reason, "run_key": run_key}

    def _approved(self, version: str, by: str) -> tuple[ModelVersion, Decision, Approval]:
        """Return the version, its decision and its approval, which is recorded if it is given now."""
        decision, model = self.decision(), self.spec.name
        require_ship(decision)
        found = ModelRegistry(self.client).version(model, version)
        if found.tags.get(tag.RUN_KEY) != self.run_key:
            raise PromotionError(
                f"model {model}: version {version} was registered by run {found.tags.get(tag.RUN_KEY)}, "
                f"but run {self.run_key} deploys it",
                "deploy the version that this run registered",
            )
        answer = Approval.from_version(found)
        given = answer is not None and answer.approved and (answer.by, answer.digest) == (by, decision.digest)
        free = answer is None and (decision.approval or self.spec.approval) == AUTO
        if free if by == AUTO else not given:
            at = "" if by == AUTO else datetime.now(UTC).isoformat(timespec="seconds")
            answer = Approval(True, by, version, decision.digest, at)
            found = record_answer(self.client, model, answer)
        require_approval(found, decision)
        answer = answer or Approval(True, AUTO, version)
        self._note_override(decision, answer)
        return found, decision, answer

    def _note_override(self, decision: Decision, answer: Approval) -> None:
        if not decision.forced:
            return
        failed = ", ".join(gate.name for gate in decision.failed)
        # The reason has the name of who forced it.
        facts = {"version": answer.version, "by": answer.by, "reason": decision.reason, "against": failed}
        audit(self.client, "override", self.spec.name, **facts, run_key=self.run_key)


def _prediction_text(run: Retrain, decision: Decision) -> str:
    """Return the gain that the decision promises for the next window, as JSON; empty without a champion."""
    if decision.gain is None or decision.next_gain is None:
        return ""
    test = split_window(run.spec, whole_day(run.as_of)).test
    return GainPrediction(
        metric=decision.metric,
        gain=decision.gain[0],
        lower=decision.next_gain[0],
        upper=decision.next_gain[1],
        level=run.spec.gate.confidence,
        window=(test.start.isoformat(), test.end.isoformat()),
        champion=decision.parent or "",
        optimism=decision.optimism or 0.0,
    ).to_text()


def _log_dataset(
    client: MlflowClient, run: Run, spec: ModelSpec, snapshot: Snapshot, settings: Settings
) -> None:
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    uri = snapshot_store(settings).uri(snapshot.path, snapshot.md5)
    dataset = Dataset(
        name=spec.name,
        digest=snapshot.md5[:8],
        source_type=uri.partition("://")[0] if is_url(uri) else "local",
        source=json.dumps({"uri": uri}),
        profile=json.dumps({"num_rows": snapshot.rows}),
    )
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
