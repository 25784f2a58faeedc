"""Every message that the package sends, in every kind, severity and state; `docs/gallery.py --all` draws them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from evermodel.alerts.approval_message import ApprovalForm, approval_message
from evermodel.alerts.digest_message import DigestRetrain, ModelWeek, TeamWeek, digest_message
from evermodel.alerts.failure_message import failure_message
from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.incidents.response import Response
from evermodel.alerts.incidents.response_message import response_line, response_message, withdrawn_message
from evermodel.alerts.incidents.shared import Member, SharedIncident
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import Transition
from evermodel.alerts.message import Message
from evermodel.alerts.retrain_message import RetrainSummary, retrain_message
from evermodel.alerts.rollout_message import progress_message, rollback_message, started_message
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.evaluation.decision import Decision, Gate
from evermodel.monitoring.drift.verdict import Performance
from evermodel.monitoring.problems import KINDS, Problem, ProblemKind, Severity
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.traffic_plan import TrafficPlan, everything_to, split
from support.small_spec import small_spec
from support.verdicts import a_column, a_verdict

SEVERITIES: tuple[Severity, ...] = ("warning", "critical")
RESPONSES = (
    Response("", "acknowledged", "ada", "2013-03-26T06:00:00+00:00", note="I look into it"),
    Response("", "muted", "ada", "2013-03-26T06:00:00+00:00", "2013-03-29T06:00:00+00:00", "upstream is fixed on Friday"),
    Response("", "expected", "ada", "2013-03-26T06:00:00+00:00", note="the new tariff began on Monday"),
)  # fmt: skip
_LINKS = {
    "Run book": "https://docs.example/runbook#drift",
    "Model": "https://airflow.example/plugin/models/evermodel/models/flights",
    "Evidently report": "https://mlflow.example/report",
    "Airflow run": "https://airflow.example/run",
}
_START, _END = "2013-03-19T00:00:00+00:00", "2013-03-26T00:00:00+00:00"
_REASONS: dict[ProblemKind, tuple[str, tuple[str, ...]]] = {
    "drift": ("2 of 5 columns drift: wind_speed, pressure.", ()),
    "quality": ("2 columns lack values.", ("temp: 92 % missing, at most 50 % allowed", "humid: 92 % missing, at most 50 % allowed")),
    "performance": ("roc_auc 0.674 (0.656 to 0.692) on 5,300 labels, limit 0.700, baseline 0.730.", ()),
    "serving": ("1 of 4 objectives is missed.", ("p99 412 ms, at most 250 ms (18,204 requests)",)),
    "skew": ("1 of 5 features differs between training and serving.", ("distance: 3.1 % of 6,214 rows differ, by up to 1,609 (miles and kilometres?)",)),
}  # fmt: skip
_OVER: dict[ProblemKind, str] = {
    "drift": "None of 5 columns drifts.",
    "quality": "No problem with the data.",
    "performance": "roc_auc 0.729 (0.711 to 0.747) on 5,300 labels, limit 0.700, baseline 0.730.",
    "serving": "Within its objectives.",
    "skew": "Training and serving agree on 6,214 rows.",
}
_NEXT: dict[ProblemKind, str] = {
    "drift": "A retrain was requested; the result will be posted here.",
    "quality": "No automatic retrain because of bad data. Fix the source first, then rerun this window.",
    "performance": "A retrain was requested; the result will be posted here.",
    "serving": "Check the serving app and its logs; a retrain does not help.",
    "skew": "Correct the code that builds the feature in serving; a retrain does not help.",
}


def view(kind: ProblemKind, severity: Severity, *, over: bool = False) -> IncidentView:
    """Return an incident of a kind, as its messages show it."""
    reason, details = _REASONS[kind]
    shown: Severity = "none" if over else severity
    problem = Problem(kind, shown, _OVER[kind] if over else reason, details=() if over else details)
    moved = () if kind != "drift" else (
        a_column(column="wind_speed", effect=0.83, calm=0.21, threshold=0.21, severity=shown, summary="median from 9 to 17"),
        a_column(column="pressure", effect=0.64, calm=0.21, threshold=0.21, severity=shown, summary="median from 1018 to 1006"),
    )  # fmt: skip
    verdict = a_verdict(
        model="flights", start=_START, end=_END, severity=shown, reason=problem.reason, problems=(problem,), columns=moved,
        performance=Performance("roc_auc", 5_300, 0.674, 0.656, 0.692, 0.730),
    )  # fmt: skip
    return IncidentView(
        f"{kind}-4-9c41d2e0", problem, verdict, _END, severity, _LINKS, _NEXT[kind], "a source, a join or the population changed" if kind == "drift" else "",
        "data-science", ("U024BE7LH",), answerable=True, over=over,
    )  # fmt: skip


def views() -> Iterator[IncidentView]:
    """Yield an incident of each kind in each severity and state: open, answered, eased, over."""
    for kind in KINDS:
        for severity in SEVERITIES:
            found = view(kind, severity)
            yield found
            yield from (replace(found, response=response_line(response)) for response in RESPONSES)
            yield view(kind, severity, over=True)
        yield replace(view(kind, "warning"), worst="critical")


def retrains() -> Iterator[RetrainSummary]:
    """Yield a retrain with each outcome."""
    floor = {"name": "floor roc_auc", "verdict": "fail", "value": 0.612, "threshold": "at least 0.65", "detail": "roc_auc 0.6120 on 5,432 test rows"}  # fmt: skip
    shipped: RetrainSummary = {
        "model": "flights", "run_key": "retrain/flights/scheduled__2013-03-26", "reason": "drift: wind_speed and pressure", "verdict": "better",
        "shipped": True, "version": "8", "previous": "7", "metric": "roc_auc", "challenger": 0.7312, "champion": 0.7124, "difference": 0.0188,
        "low": 0.0101, "high": 0.0271, "rows": 5432, "gates": [{**floor, "verdict": "pass", "value": 0.7312, "detail": ""}], "approval": "auto",
        "by": "airflow", "as_of": "2013-03-26", "links": _LINKS,
    }  # fmt: skip
    first = {"previous": None, "champion": None, "difference": None, "low": None, "high": None}
    kept = {
        "shipped": False,
        "version": None,
        "verdict": "not_enough_evidence",
        "challenger": 0.7034,
        "difference": -0.009,
        "low": -0.021,
        "high": 0.002,
    }
    for changes in (
        {},
        {"approval": "approved", "by": "ada"},
        {**first, "verdict": "cold_start"},
        {"shipped": False, "rollout": "it answers 5% of the requests, at most 10,000 until it has passed"},
        {"shipped": False, "approval": "rejected", "by": "ada"},
        {"shipped": False, "approval": "rejected", "by": ""},
        kept,
        {
            **kept,
            "gates": [floor, {**floor, "name": "slice carrier=UA", "verdict": "warn", "detail": "312 rows"}],
        },
        {**kept, **first, "verdict": "cold_start", "gates": [floor]},
    ):
        yield {**shipped, **changes}  # type: ignore[typeddict-item]


def rollouts() -> Iterator[Message]:
    """Yield what is said about rollouts and a rollback."""
    at = "2013-03-26T06:20:00+00:00"
    for strategy, arms, more in (
        ("canary", split("7", "8", 0.05), {"limit": 10_000}),
        ("shadow", everything_to("7"), {"shadow": 0.5}),
        ("blue_green", everything_to("7"), {}),
        ("ab_test", split("7", "8", 0.5), {}),
    ):
        plan = TrafficPlan("flights", strategy, "7", "8", arms, "s", at, at, "ada", "drift: wind_speed", "rollout/flights/1", **more)  # type: ignore[arg-type]  # fmt: skip
        yield started_message(plan, _LINKS)


def moves() -> Iterator[Message]:
    """Yield each move and end of a rollout."""
    base = {
        "model": "flights", "version": "8", "champion": "7", "strategy": "canary", "state": "running", "step": 1, "share": 0.25, "move": "advance",
        "why": "2,500 answers without a breach of the guardrails", "run_key": "rollout/flights/1",
        "figures": {"challenger_requests": 2512.0, "champion_requests": 47713.0, "challenger_errors": 2.0, "champion_errors": 41.0,
                    "challenger_p99_ms": 12.4, "champion_p99_ms": 11.9, "agreement": 0.981, "psi": 0.012},
    }  # fmt: skip
    for changes in (
        {},
        {"move": "promote", "why": "no guardrail was hit, and the labels say better"},
        {"state": "promoted", "why": "no guardrail was hit, and the labels say better"},
        {"state": "rolled_back", "why": "errors: 3.1 % of 597 answers (2.0 % allowed), the champion 0.4 %"},
        {"state": "stopped", "why": "stopped by ada: the price list is wrong"},
    ):
        yield progress_message({**base, **changes}, _LINKS)


def shared() -> Iterator[Message]:
    """Yield drift that one source brings to two models: open, and over."""
    first = Member("flights", "drift-4", "critical", ("temp", "pressure"), _LINKS["Model"])
    other = Member("delays", "drift-1", "warning", ("temp",), _LINKS["Model"])
    both = SharedIncident(
        "weather.observations", _END, incident_message(view("drift", "critical")).to_json(), (first, other)
    )
    yield both.shown()
    yield both.having(replace(first, over=True)).having(replace(other, over=True)).shown()


def digests() -> Iterator[Message]:
    """Yield the digest of a week with news, of a quiet one, and of a team without models."""
    calm = ModelWeek(
        "churn", "12", "2013-02-04", 7, performance=Performance("roc_auc", 5_000, 0.803, 0.79, 0.815, 0.798)
    )
    opened = Transition(
        "drift-4", "drift", "open", "critical", _END, _END, "7", "", "wind_speed and pressure moved together"
    )
    loud = ModelWeek(
        "flights", "8", "2013-03-26", 7, (opened,), (Incident("drift-4", _END, "critical", "critical", _END, opened.cause),),
        (DigestRetrain("2013-03-25", "kept the champion", "", "scheduled"), DigestRetrain(_END, "deployed", "8", "drift since 2013-03-19")),
        Performance("roc_auc", 5_300, 0.674, 0.656, 0.692, 0.730),
    )  # fmt: skip
    for models in ((loud, calm), (calm,), (ModelWeek("new"), calm)):
        yield digest_message(TeamWeek("data-science", _START, _END, models), {"Models": _LINKS["Model"]})


def approvals() -> Iterator[Message]:
    """Yield the question for an approval: with a doubt, and of a first version."""
    spec = small_spec(name="flights", approval="manual", approvers=["ada"])
    gates = (Gate("comparison", "pass", 0.0188, "margin 0.01", ""), Gate("slice carrier=UA", "warn", -0.02, "loss at most 0.01", "312 rows"))  # fmt: skip
    form = ApprovalForm("retrain_flights", "scheduled__2013-03-26", "approve", "8", "0" * 16)
    for parent, champion, gain, found in (
        ("7", (0.7124, 0.700, 0.725), (0.0188, 0.0101, 0.0271), gates),
        (None, None, None, gates[:1]),
    ):
        decision = Decision(
            "flights", "retrain/flights/1", "boosted_trees", "models:/m-1", parent, "roc_auc", "better" if parent else "cold_start", True, False,
            "the interval of the gain lies above 0", 5432, (0.7312, 0.718, 0.745), champion, gain, found,
        )  # fmt: skip
        yield approval_message(
            spec, "8", decision, {"Approve or reject": "https://airflow.example/form", **_LINKS}, form
        )


def states() -> dict[str, list[Message]]:
    """Return all messages by the name of the function that builds them."""
    spec, done = (
        small_spec(name="flights"),
        Promotion("7", "8", "2013-03-26T06:20:00+00:00", "ada", "wrong answers", "rollback/1"),
    )
    open_ones = [one for one in views() if not one.over]
    return {
        "incident_message": [incident_message(one) for one in views()],
        "escalation_message": [escalation_message(view(kind, "critical")) for kind in KINDS],
        "reminder_message": [reminder_message(one, datetime(2013, 3, 29, tzinfo=UTC)) for one in open_ones if not one.response],
        "resolved_message": [resolved_message(view(kind, "critical", over=True), "Version 8 is the champion; the incident began with version 7.") for kind in KINDS],
        "response_message": [response_message(spec, kind, replace(one, incident=kind)) for kind in KINDS for one in RESPONSES],
        "withdrawn_message": [withdrawn_message(spec, kind, kind, "bob", "2013-03-27T06:00:00+00:00") for kind in KINDS],
        "retrain_message": [retrain_message(one) for one in retrains()],
        "started_message": list(rollouts()),
        "progress_message": list(moves()),
        "rollback_message": [rollback_message("flights", done, _LINKS), rollback_message("flights", done, _LINKS, "9")],
        "approval_message": list(approvals()),
        "digest_message": list(digests()),
        "shown": list(shared()),
        "failure_message": [
            failure_message("flights", "retrain_flights", "train", "scheduled__2013-03-26", error, "https://airflow.example/log")
            for error in ("TrainingError: candidate boosted_trees: 12 rows are too few to train on\n  What to do: widen train.window", "")
        ],
    }  # fmt: skip
