"""The steps of a retrain, each idempotent by run key; the DAG's operators call one each."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evermodel import registry
from evermodel.approval import Approval, record_answer
from evermodel.audit import audit
from evermodel.commit import git_commit
from evermodel.environment import environment_digest, installed_packages, thread_count
from evermodel.errors import ModelFormatError
from evermodel.evidence.card_record import card_links, describe_version, record_card
from evermodel.evidence.record import record_evidence
from evermodel.fastpath.keep import keep_if_same
from evermodel.gate.decision import Decision
from evermodel.gate.judge import Contender, judge
from evermodel.model_store import load_model
from evermodel.overview.marks import decision_tag
from evermodel.rollout.in_flight import stop_in_flight
from evermodel.settings import Settings
from evermodel.snapshot import Snapshot, take_snapshot
from evermodel.spec import ModelSpec
from evermodel.tracking import check_health, find_run, keyed_run, log_json, log_metrics, read_json
from evermodel.training import TrainedCandidate, best_of, rows_of
from evermodel.validation.step import Validated, validate_snapshot
from evermodel.window import parse_moment, split_window, whole_day

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

RETRAIN = "retrain"
DECISION_FILE = "decision.json"


@dataclass(frozen=True)
class Retrain:
    """One retrain: its model, its key, and the moment as of which it sees the world.

    Parameters
    ----------
    run_key
        Idempotency key; everything that the retrain leaves behind carries it.
    as_of
        No data and no label known later is used.
    reason
        Why it was started.
    """

    spec: ModelSpec
    run_key: str
    as_of: datetime
    reason: str
    client: MlflowClient
    settings: Settings

    def mlflow_run(self, tags: Mapping[str, str] | None = None) -> Run:
        """Find or make the MLflow run of this retrain."""
        name = f"retrain {self.as_of:%Y-%m-%d}"
        known = {"evermodel.as_of": self.as_of.isoformat(), "evermodel.reason": self.reason}
        return keyed_run(
            self.client, self.spec.name, self.run_key, kind=RETRAIN, name=name, tags={**known, **(tags or {})}
        )

    def extract(self) -> Snapshot:
        """Take the snapshot and name it on the MLflow run, as dataset input and by tags."""
        snapshot = take_snapshot(self.spec, self.as_of, self.settings)
        run = self.mlflow_run(
            {
                "evermodel.snapshot": snapshot.path,
                "evermodel.snapshot_md5": snapshot.md5,
                "evermodel.window": f"{snapshot.start}/{snapshot.end}",
                "evermodel.spec_digest": self.spec.digest,
                "evermodel.git_commit": git_commit(self.settings.models),
            }
        )
        log_json(self.client, run.info.run_id, self.spec.canonical(), "spec.json")
        self.client.log_text(run.info.run_id, installed_packages(), "environment.txt")
        _log_dataset(self.client, run, self.spec, snapshot, self.settings)
        return snapshot

    def validate(self, snapshot: Snapshot) -> Validated:
        """Check the snapshot; the report is kept on the MLflow run also when everything passed.

        Returns
        -------
        The report, and the snapshot to go on with: rows that were set aside are not in it.

        Raises
        ------
        ValidationError
            A check of severity ``fail`` did not pass.
        """
        return validate_snapshot(self, snapshot)

    def evaluate(self, snapshot: str, trained: list[TrainedCandidate], force_reason: str | None) -> Decision:
        """Judge the best candidate against the champion on the test part, and write the decision."""
        chosen = best_of(self.spec, trained)
        version = registry.alias_version(self.client, self.spec.name, registry.CHAMPION)
        if version is not None and version.tags.get("evermodel.run_key") == self.run_key:
            return self.decision()  # this very run was promoted before it was run again
        parts = split_window(self.spec, whole_day(self.as_of))
        features, labels = rows_of(self.spec, snapshot, parts.test, self.settings)
        champion, unusable = self._champion(version)
        challenger = self._with_graph(self._contender(chosen.candidate, chosen.model_uri), features)
        decision = judge(
            self.spec,
            self.run_key,
            features,
            labels,
            challenger,
            champion,
            champion_saw=_overlap(version, parts.test.start, parts.test.end),
            unusable=unusable,
            force_reason=force_reason,
        )
        decision = _with_parent(decision, version)
        self._write(decision, chosen)
        record_evidence(self, decision, features, labels, challenger, champion)
        return decision

    def decision(self) -> Decision:
        """Read back the decision that `evaluate` wrote."""
        return Decision.from_json(read_json(self.client, self.mlflow_run().info.run_id, DECISION_FILE))

    def register(self, snapshot: Mapping[str, Any]) -> ModelVersion:
        """Register the challenger of the decision, once, with its lineage."""
        decision = self.decision()
        parts = split_window(self.spec, whole_day(self.as_of))
        run = find_run(self.client, self.spec.name, f"{self.run_key}/{decision.candidate}", kind="candidate")
        assert run is not None
        links = card_links(self, self.mlflow_run())
        version = registry.register(
            self.client,
            self.spec.name,
            self.run_key,
            source=decision.model_uri,
            run_id=run.info.run_id,
            description=describe_version(self, decision, links),
            tags={
                "evermodel.as_of": self.as_of.isoformat(),
                "evermodel.train_start": parts.fit.start.isoformat(),
                "evermodel.train_end": parts.fit.end.isoformat(),
                "evermodel.snapshot": snapshot["path"],
                "evermodel.snapshot_md5": snapshot["md5"],
                "evermodel.spec_digest": self.spec.digest,
                "evermodel.git_commit": git_commit(self.settings.models),
                "evermodel.environment_digest": environment_digest(),
                "evermodel.threads": thread_count(),
                "evermodel.fastpath": self.mlflow_run().data.tags.get("evermodel.fastpath", ""),
                "evermodel.decision": decision.digest,
                "evermodel.verdict": decision.verdict,
                "evermodel.forced": str(decision.forced).lower(),
                "evermodel.parent": decision.parent or "",
                "evermodel.reason": self.reason,
                "evermodel.metric": decision.metric,
                "evermodel.metric_value": repr(decision.challenger[0]),
                **links,
            },
        )
        self.mlflow_run({"evermodel.version": str(version.version)})
        record_card(self, decision, version)
        return version

    def deploy(self, version: str, by: str, approval: Approval | None = None) -> registry.Promotion:
        """Promote the version, if the champion is still the one that the decision compared it with.

        Parameters
        ----------
        approval
            The answer that allows it, if somebody was asked; it is noted on the version.

        Raises
        ------
        ApprovalError
            The answer was no, or about another version, or the decision was changed since.
        """
        decision, answer = self._consented(version, by, approval)
        promotion = registry.promote(
            self.client,
            self.spec.name,
            version,
            expected=decision.parent,
            by=answer.by,
            reason=answer.reason(self.reason),
            run_key=self.run_key,
        )
        self._note_override(decision, answer)
        why = f"version {version} was promoted: {self.reason}"
        stop_in_flight(self.client, self.spec.name, why, promotion.version, promotion.by)
        self.mlflow_run({"evermodel.outcome": "deployed", "evermodel.version": version})
        return promotion

    def ask_for_rollout(self, version: str, by: str, approval: Approval | None = None) -> dict[str, Any]:
        """Note the consent, and return what a rollout of the version is started with; see `deploy`."""
        decision, answer = self._consented(version, by, approval)
        self._note_override(decision, answer)
        self.mlflow_run({"evermodel.outcome": "rolling out", "evermodel.version": version})
        reason, run_key = answer.reason(self.reason), f"rollout/{self.run_key}"
        return {"version": version, "by": answer.by, "reason": reason, "run_key": run_key}

    def _consented(self, version: str, by: str, approval: Approval | None) -> tuple[Decision, Approval]:
        decision = self.decision()
        answer = approval or Approval(True, by, version, decision.digest)
        answer.require(version, decision.digest)
        record_answer(self.client, self.spec.name, answer)
        return decision, answer

    def _note_override(self, decision: Decision, answer: Approval) -> None:
        if not decision.forced:
            return
        failed = ", ".join(gate.name for gate in decision.gates if gate.verdict == "fail")
        audit(
            "override",
            self.spec.name,
            version=answer.version,
            by=answer.by,
            reason=decision.reason,  # with the name of who forced it
            against=failed,
            run_key=self.run_key,
        )

    def finish(self, outcome: str) -> None:
        """End the MLflow run."""
        run = self.mlflow_run({"evermodel.outcome": outcome})
        self.client.set_terminated(run.info.run_id, "FINISHED")

    def _champion(self, version: ModelVersion | None) -> tuple[Contender | None, str | None]:
        """Load the champion; one that cannot be loaded fails the gate, but a server that is away fails the step."""
        from mlflow.exceptions import MlflowException

        if version is None:
            return None, None
        try:
            return self._contender(f"version {version.version}", _source(version)), None
        except (ModelFormatError, MlflowException, OSError) as error:
            check_health(self.settings.tracking_uri)
            said = (
                error.problem
                if isinstance(error, ModelFormatError)
                else str(error).split("\n", maxsplit=1)[0]
            )
            return None, f"the champion, version {version.version}, cannot be used: {said}"

    def _contender(self, name: str, uri: str) -> Contender:
        with tempfile.TemporaryDirectory() as folder:
            model = load_model(self.client, uri, Path(folder))
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
        return Contender(name, model.pipeline, uri, size, model.fast)

    def _with_graph(self, challenger: Contender, features: pd.DataFrame) -> Contender:
        kept = keep_if_same(
            self.client, challenger.uri, challenger.pipeline, features, self.spec.performance.threshold
        )
        self.mlflow_run({"evermodel.fastpath": kept.note})
        return replace(challenger, fast=kept.fast)

    def _write(self, decision: Decision, chosen: TrainedCandidate) -> None:
        run = self.mlflow_run(
            {
                "evermodel.verdict": decision.verdict,
                "evermodel.ship": str(decision.ship).lower(),
                "evermodel.decision": decision.digest,
                "evermodel.candidate": decision.candidate,
                "evermodel.metric": decision.metric,
                "evermodel.forced": str(decision.forced).lower(),
                **decision_tag(decision),
            }
        )
        run_id = run.info.run_id
        log_json(self.client, run_id, decision.to_json(), DECISION_FILE)
        gain = decision.gain or (None, None, None)
        log_metrics(
            self.client,
            run_id,
            {
                f"test_{decision.metric}": decision.challenger[0],
                f"validation_{decision.metric}": chosen.validation,
                "test_rows": decision.rows,
                f"test_{decision.metric}_champion": decision.champion[0] if decision.champion else None,
                **dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)),
            },
        )


def _source(version: ModelVersion) -> str:
    return f"models:/{version.name}/{version.version}"


def _with_parent(decision: Decision, version: ModelVersion | None) -> Decision:
    return replace(decision, parent=None if version is None else str(version.version))


def _overlap(version: ModelVersion | None, start: datetime, end: datetime) -> float:
    """Return the share of the test window that the champion was fitted on."""
    if version is None or "evermodel.train_end" not in version.tags:
        return 0.0
    seen = min(parse_moment(version.tags["evermodel.train_end"]), end) - start
    return max(0.0, seen / (end - start))


def _log_dataset(
    client: MlflowClient, run: Run, spec: ModelSpec, snapshot: Snapshot, settings: Settings
) -> None:
    import json

    from mlflow.entities import Dataset, DatasetInput, InputTag

    dataset = Dataset(
        name=spec.name,
        digest=snapshot.md5[:8],
        source_type="local",
        source=json.dumps({"uri": str(settings.lake / snapshot.path)}),
        profile=json.dumps({"num_rows": snapshot.rows}),
    )
    client.log_inputs(run.info.run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
