"""What each operator returns, as a type: the XCom is this plain JSON, and a task of yours can say what it takes.

A later release may add keys. The types are for annotations; no task makes an object of them.
"""

from __future__ import annotations

from typing import Any, NotRequired

from typing_extensions import TypedDict

from evermodel.monitoring.problems import Severity

__all__ = [
    "AlertResult",
    "ApprovalResult",
    "BacktestResult",
    "CandidateResult",
    "DecisionResult",
    "DeliveryResult",
    "DeployResult",
    "DriftResult",
    "FeaturesResult",
    "GuardResult",
    "IncidentResult",
    "MessagesResult",
    "PolicyResult",
    "PromotionResult",
    "RequestResult",
    "RetrainReportResult",
    "RolloutRequestResult",
    "RolloutResult",
    "RolloutStartResult",
    "ScoreResult",
    "SnapshotResult",
    "TrafficResult",
    "WantedRetrainResult",
    "WrittenViewResult",
]


class RequestResult(TypedDict):
    """What a retrain was asked for; each key is an XCom of its own, too.

    :param as_of: Moment of the retrain, ISO 8601: later data is ignored.
    :param run_key: Idempotency key of all its steps.
    :param candidates: Names of the candidates to train.
    :param approval: ``auto`` or ``manual``.
    """

    as_of: str
    run_key: str
    reason: str
    candidates: list[str]
    approval: str


class SnapshotResult(TypedDict):
    """A snapshot.

    :param path: File, relative to the lake.
    :param digest: First 16 hex digits of its SHA-256.
    :param md5: DVC's name of the content.
    :param start: First moment of the window, ISO 8601.
    :param end: End of the window, exclusive.
    """

    model: str
    path: str
    digest: str
    md5: str
    rows: int
    start: str
    end: str


class CandidateResult(TypedDict):
    """A trained candidate.

    :param model_uri: The logged model.
    :param mlflow_run: Id of the run that made it.
    :param metric: Name of the primary metric.
    :param validation: Its value on the validation part.
    :param params: The parameters that it was fitted with.
    :param threshold: From which on a probability is decided positive; None without a rule for decisions.
    """

    candidate: str
    model_uri: str
    mlflow_run: str
    metric: str
    validation: float
    params: dict[str, Any]
    threshold: float | None


class DecisionResult(TypedDict):
    """The decision on the challenger.

    :param ship: Whether it may be promoted.
    :param verdict: ``better``, ``not_worse``, ``worse``, ``not_enough_evidence`` or ``cold_start``.
    :param candidate: Name of the challenger's candidate.
    :param metric: Name of the primary metric.
    :param challenger: Its value for the challenger.
    :param champion: Its value for the champion; None if there is none.
    :param decision: Digest of the stored decision, 16 hex digits.
    """

    ship: bool
    verdict: str
    candidate: str
    metric: str
    challenger: float
    champion: float | None
    decision: str


class ApprovalResult(TypedDict):
    """An answer to the approval form; the XCom ``approval``.

    :param by: Name of the person; ``auto`` if no approval was required.
    :param digest: Digest of the decision that was shown; empty for ``auto``.
    :param at: Time of the answer, ISO 8601; empty for ``auto``.
    """

    approved: bool
    by: str
    version: str
    digest: str
    at: str
    comment: str


class PromotionResult(TypedDict):
    """A line of the history: which version became champion.

    :param previous: The champion before; None if there was none.
    :param at: Time, ISO 8601.
    :param kind: ``promotion`` or ``rollback``.
    """

    version: str
    previous: str | None
    at: str
    by: str
    reason: str
    run_key: str
    kind: str


class RolloutRequestResult(TypedDict):
    """A request for a rollout."""

    version: str
    by: str
    reason: str
    run_key: str
    strategy: str


class RolloutResult(TypedDict):
    """What `DeployOperator` returns where the spec wants a rollout."""

    rollout: RolloutRequestResult


DeployResult = PromotionResult | RolloutResult


class DeliveryResult(TypedDict):
    """Where a message was delivered.

    :param kind: ``slack``, ``outbox``, or ``queued`` for one that is sent later.
    :param ts: Slack's time of the message.
    :param path: Folder of the message in the outbox.
    :param root: Of a reply, the ``ts`` of its thread.
    """

    kind: str
    channel: str
    ts: str
    path: str
    root: NotRequired[str]


class RetrainReportResult(TypedDict):
    """How a retrain ended.

    :param outcome: ``deployed``, ``rolling out``, ``kept the champion`` or ``rejected``.
    :param version: The registered version; None if there is none.
    """

    outcome: str
    version: str | None
    delivery: DeliveryResult


class ScoreResult(TypedDict):
    """A scored day.

    :param day: The day, ``YYYY-MM-DD``.
    :param version: The champion that scored it.
    :param path: Partition of the prediction log, relative to the lake.
    """

    model: str
    day: str
    version: str
    rows: int
    mean_score: float
    path: str


class WrittenViewResult(TypedDict):
    """Features of one table of events by one key.

    :param features: Their names.
    :param period: Beginning of the period that they show, ISO 8601.
    :param keys: How many keys have values; the others have those of a key without events.
    """

    view: str
    features: list[str]
    period: str
    keys: int


class FeaturesResult(TypedDict):
    """What was written for the serving app to look up."""

    views: list[WrittenViewResult]


class DriftResult(TypedDict):
    """The verdict on a window.

    :param rows: Rows of the window.
    :param drifting: Names of the drifting columns.
    :param metric: Name of the metric on matured labels.
    :param metric_value: Its value; None without enough labels.
    :param quality: Problems of the data, in words.
    """

    severity: Severity
    reason: str
    version: str
    rows: int
    drifting: list[str]
    metric: str
    metric_value: float | None
    quality: list[str]


class IncidentResult(TypedDict):
    """What was done about one kind of problem.

    :param incident: Id of the incident; empty for none.
    :param message: Key of its first message; empty without one.
    """

    kind: str
    action: str
    severity: Severity
    incident: str
    message: str
    delivery: DeliveryResult | None


class AlertResult(TypedDict):
    """What was done about a window's problems; the first keys are those of the most severe kind."""

    action: str
    severity: Severity
    delivery: DeliveryResult | None
    incidents: list[IncidentResult]


class WantedRetrainResult(TypedDict):
    """A retrain that the drift policy asked for."""

    run_key: str
    reason: str
    as_of: str


class RolloutStartResult(TypedDict):
    """A rollout that has begun.

    :param thread: Identity of its first message.
    """

    run_key: str
    version: str
    strategy: str
    thread: str


class TrafficResult(TypedDict):
    """How a rollout ended.

    :param state: ``promoted``, ``rolled_back`` or ``stopped``.
    """

    state: str
    delivery: DeliveryResult


class GuardResult(PromotionResult):
    """A rollback that a guard made.

    :param model: Name of the model; only where one task guards several.
    """

    model: NotRequired[str]


class PolicyResult(TypedDict):
    """A replayed retrain policy.

    :param tried: Retrains.
    :param shipped: Promoted versions.
    :param alerts: Messages.
    """

    policy: str
    tried: int
    shipped: int
    alerts: int


class BacktestResult(TypedDict):
    """The comparison of the policies.

    :param result: Digest.
    :param report: Its address in MLflow.
    :param findings: Sentences.
    """

    result: str
    report: str
    findings: list[str]


class MessagesResult(TypedDict):
    """Numbers of messages that were sent, and that wait."""

    sent: int
    waiting: int
