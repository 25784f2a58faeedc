"""The replay: the days of 2013 and the expected events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from evermodel.cli.demo_replay.requests import SteadyClient
from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.core.dag_ids import dag_id

MODEL, HISTORY = "flights", "flights_history"
COLD_START = datetime(2013, 3, 11, 6, tzinfo=UTC)
FIRST_WATCHED = datetime(2013, 3, 21, tzinfo=UTC)
ALARM = datetime(2013, 3, 26, tzinfo=UTC)
LAST = datetime(2013, 3, 31, tzinfo=UTC)
_AT_SCORING, _AT_DRIFT = timedelta(hours=3), timedelta(hours=4)


@dataclass(frozen=True)
class Row:
    """One line of the summary."""

    run: str
    as_of: str
    verdict: str
    metric: str
    sent: str

    @property
    def alarm(self) -> bool:
        """True if the line reports a problem."""
        return "warning" in self.verdict or "critical" in self.verdict

    @property
    def deployed(self) -> bool:
        """True if the line is a retrain whose version became champion."""
        return "deployed" in self.verdict


@dataclass
class DemoReplay:
    """Replays the days, one DAG run after the other, and records the events.

    Parameters
    ----------
    client
        Who asks the serving app all the while.
    """

    api: AirflowApi
    client: SteadyClient
    say: Callable[[str], None]
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    aucs: list[float] = field(default_factory=list)
    opened: dict[str, int] = field(default_factory=dict)
    resolved: dict[str, int] = field(default_factory=dict)

    def play(self) -> None:
        """Replay everything: cold start, quiet days, decay, drift, the requested retrain, and quiet again."""
        self.cold_start()
        self.score_days(COLD_START + timedelta(days=1), ALARM)
        if self.watch_until_alarm():
            self.retrain_by_drift()
            beside = self.api.trigger(
                dag_id("retrain", HISTORY), logical_date=ALARM + _AT_DRIFT, run_id=_run_id(ALARM)
            )
            self.watch_until_over()
            self.compare_with_history(beside)
        self.expect(
            not self.client.failures,
            f"{len(self.client.failures)} requests failed: {self.client.failures[:3]}",
        )
        self.expect(self.quiet_days >= 2, "no quiet days before the decay")
        once = {"performance": 1, "drift": 1}
        self.expect(self.opened == once, f"incidents opened: {self.opened}")
        self.expect(self.resolved == once, f"incidents resolved: {self.resolved}")

    @property
    def quiet_days(self) -> int:
        """Days without a message."""
        return sum(row.verdict == "quiet" and not row.sent for row in self.rows)

    def expect(self, true: bool, otherwise: str) -> None:
        """Note a problem unless something holds."""
        if not true:
            self.problems.append(otherwise)
            self.say(f"✗ {otherwise}")

    def cold_start(self) -> None:
        """Train the first champion and wait until it answers."""
        conf = {"reason": "cold start of the demo"}
        run = self.api.run(
            dag_id("retrain", MODEL), logical_date=COLD_START, conf=conf, run_id=_run_id(COLD_START)
        )
        outcome = self._note_retrain(run)
        self.expect(outcome["outcome"] == "deployed", f"the cold start ended as: {outcome['outcome']}")
        self._serves(str(outcome["version"]))

    def score_days(self, first: datetime, last: datetime) -> None:
        """Score the day before each date, several days at once."""
        start, runs = time.monotonic(), []
        day = first.replace(hour=0)
        while day <= last:
            runs.append(
                self.api.trigger(dag_id("score", MODEL), logical_date=day + _AT_SCORING, run_id=_run_id(day))
            )
            day += timedelta(days=1)
        rows = 0
        for run_id in runs:
            run = self.api.wait(dag_id("score", MODEL), run_id)
            self.expect(run["state"] == "success", f"{run_id} of {dag_id('score', MODEL)}: {run['state']}")
            rows += self.api.xcom(dag_id("score", MODEL), run_id, "score", map_index=0)["rows"]
        self.rows.append(
            Row(
                "score",
                f"{first:%d %b}" + (f" to {last:%d %b}" if len(runs) > 1 else ""),
                f"{rows:,} rows",
                "",
                "",
            )
        )
        self.say(f"scored {len(runs)} day(s), {rows:,} rows, in {time.monotonic() - start:.0f} s")

    def watch_until_alarm(self) -> bool:
        """Run the drift DAG day by day; tell whether the alarm came on the day of the storm, and not before."""
        day, action = FIRST_WATCHED, "quiet"
        while day <= ALARM and action == "quiet":
            action = self._watch(day)
            day += timedelta(days=1)
        alarmed = action == "open" and day > ALARM
        self.expect(alarmed, "drift was not detected on the day of the storm, or too early")
        return alarmed

    def watch_until_over(self) -> None:
        """Score and watch day after day until both incidents are over: labels of the new version take two days."""
        day = ALARM
        while self.resolved != self.opened and day < LAST:
            day += timedelta(days=1)
            self.score_days(day, day)
            self._watch(day)

    def retrain_by_drift(self) -> None:
        """Follow the retrain that drift requested, until the new champion answers."""
        run_id = self._asset_run()
        if run_id is None:
            self.expect(False, "drift requested a retrain, but no run of the retrain DAG started")
            return
        if run := self._succeeded(dag_id("retrain", MODEL), run_id):
            outcome = self._note_retrain(run)
            self.expect(outcome["outcome"] == "deployed", f"the retrain ended as: {outcome['outcome']}")
            self._serves(str(outcome["version"]))

    def compare_with_history(self, run_id: str) -> None:
        """Note the model that also knows the delays of the last hours: same flights, same test week as the last retrain."""
        if run := self._succeeded(dag_id("retrain", HISTORY), run_id):
            self._note_retrain(run, HISTORY)
            self.expect(self.aucs[-1] > self.aucs[-2], f"the last hours' delays added nothing: {self.aucs}")

    def _succeeded(self, dag: str, run_id: str) -> dict[str, Any] | None:
        """Wait for a run, and return it if it succeeded."""
        run = self.api.wait(dag, run_id)
        if run["state"] == "success":
            return run
        self.expect(False, self.api.explain(dag, run_id))
        return None

    def _watch(self, day: datetime) -> str:
        """Run one day of the drift DAG and return the state of the drift incident."""
        dag = dag_id("drift", MODEL)
        run = self.api.run(dag, logical_date=day + _AT_DRIFT, run_id=_run_id(day))
        verdict, alert = (self.api.xcom(dag, run["dag_run_id"], task) for task in ("verdict", "alert"))
        incidents = {incident["kind"]: incident for incident in alert["incidents"]}
        for kind, incident in incidents.items():
            for action, count in (("open", self.opened), ("resolve", self.resolved)):
                if incident["action"] == action:
                    count[kind] = count.get(kind, 0) + 1
        said = [part for kind, incident in incidents.items() if (part := _told(kind, incident, verdict))]
        shown, value = "; ".join(said) or "quiet", verdict["metric_value"]
        metric = "not yet known" if value is None else f"{value:.3f}"  # of a version that has just begun
        told = [
            i["delivery"]
            for i in incidents.values()
            if i["action"] not in ("quiet", "update") and i["delivery"]
        ]
        sent = f"message to {told[0]['kind']}" if told else ""
        self.rows.append(Row("drift", f"{day:%d %b}", shown, metric, sent))
        self.say(f"drift {day:%d %b}: {shown}, {verdict['metric']} {metric}" + (f", {sent}" if sent else ""))
        return str(incidents["drift"]["action"])

    def _note_retrain(self, run: dict[str, Any], model: str = MODEL) -> dict[str, Any]:
        dag, run_id = dag_id("retrain", model), run["dag_run_id"]
        evaluated = self.api.xcom(dag, run_id, "evaluate")
        outcome: dict[str, Any] = self.api.xcom(dag, run_id, "report")
        as_of = datetime.fromisoformat(self.api.xcom(dag, run_id, "request", key="as_of"))
        against = f" (champion {evaluated['champion']:.3f})" if evaluated["champion"] else ""
        verdict = f"{evaluated['verdict'].replace('_', ' ')}, {outcome['outcome']}"
        version = f" version {outcome['version']}" if outcome["version"] else ""
        metric = f"{evaluated['challenger']:.3f}{against}"
        if model == HISTORY:
            metric += f" (without history {self.aucs[-1]:.3f})"
        self.aucs.append(evaluated["challenger"])
        name = "retrain" if model == MODEL else f"retrain {model}"
        self.rows.append(Row(name, f"{as_of:%d %b}", verdict + version, metric, _sent(outcome["delivery"])))
        self.say(f"{name} as of {as_of:%d %b}: {verdict}{version}, {evaluated['metric']} {metric}")
        return outcome

    def _serves(self, version: str) -> None:
        answered = self.client.wait_for(version)
        self.expect(answered, f"version {version} did not answer requests")
        if answered:
            self.say(f"version {version} answers requests, {len(self.client.failures)} failed so far")

    def _asset_run(self, timeout: float = 60.0) -> str | None:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            for run in self.api.dag_runs(dag_id("retrain", MODEL)):
                if run["run_type"] == "asset_triggered":
                    return str(run["dag_run_id"])
            time.sleep(0.3)
        return None


def _told(kind: str, incident: dict[str, Any], verdict: dict[str, Any]) -> str:
    """Return the state of one kind of problem; empty if there is none."""
    if incident["action"] == "resolve":
        return f"{kind} resolved"
    if incident["severity"] == "none":
        return ""
    columns = f" ({', '.join(verdict['drifting'])})" if kind == "drift" and verdict["drifting"] else ""
    return f"{kind} {incident['severity']}{columns}"


def _run_id(day: datetime) -> str:
    return f"replay__{day:%Y-%m-%d}"


def _sent(delivery: dict[str, Any] | None) -> str:
    return "" if not delivery else f"message to {delivery['kind']}"
