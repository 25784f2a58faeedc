"""A team's week, read from MLflow, of watched models from the database: incidents, retrains, and current performance."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.alerts.digest_message import DigestRetrain, ModelWeek, TeamWeek, digest_message
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import Transition, incident_history, read_incidents
from evermodel.alerts.message import Message
from evermodel.alerts.publisher import Publisher, notifier_destinations
from evermodel.alerts.queue import MessageQueue
from evermodel.alerts.queued_message import QueuedMessage
from evermodel.alerts.teams import Team
from evermodel.alerts.year_audit import keep_audit, year_audit
from evermodel.monitoring.drift.verdict import Performance
from evermodel.monitoring.verdict_history import VerdictHistory
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tags import AS_OF, KIND, OUTCOME, REASON, RUN_KEY, VERSION
from evermodel.registry.tracking import read_json
from evermodel.spec import ModelSpec
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient, Run

WEEK = timedelta(days=7)
_MOST_RUNS = 200
_ENDS = ("resolve", "close")
_NEWS = ("open", "escalate", *_ENDS)


@dataclass(frozen=True)
class Digest:
    """Builds a team's digests of the week that ends at a moment.

    Parameters
    ----------
    client
        Not used for watched models.
    database
        URL of the database with the verdicts on watched models.
    """

    team: Team
    client: MlflowClient
    end: datetime
    links: dict[str, str]
    database: str = ""

    def queue(self, queue: MessageQueue, now: datetime) -> list[tuple[ModelSpec, Message]]:
        """Queue one message for each channel of the team, and return them with the spec that names the channel."""
        made = []
        sent: set[str] = set()
        for specs in self.team.channels.values():
            message = digest_message(self.read(specs), self.links)
            url = next(iter(self.links.values()), "")
            Publisher(queue, specs[0], now).post("digest", message, url=url)
            for spec in specs:
                sent |= _notify(queue, spec, message, url, sent)
            made.append((specs[0], message))
        return made

    def read(self, specs: Sequence[ModelSpec]) -> TeamWeek:
        """Read the week of some models."""
        weeks = tuple(self.week_of(spec) for spec in specs)
        return TeamWeek(self.team.owner, (self.end - WEEK).isoformat(), self.end.isoformat(), weeks)

    def week_of(self, spec: ModelSpec) -> ModelWeek:
        """Read the week of one model."""
        if spec.watch is not None:
            return self._watched_week(spec.name)
        client, name = self.client, spec.name
        found = ModelRegistry(client).read(name)
        if found.champion is None:
            return ModelWeek(name, retrains=self._retrains(name))
        served = [p.at for p in found.promotions if p.version == found.champion]
        promoted = parse_moment(served[-1]) if served else self._made(name, found.champion)
        days = self._days(name)
        happened = [t for t in incident_history(client, name, self.end - WEEK) if self._within(t.at)]
        states = read_incidents(client, name).states
        year = year_audit(spec, client, self.end)
        keep_audit(client, year)
        return ModelWeek(
            model=name,
            version=found.champion,
            promoted=promoted.isoformat(),
            windows=sum(self._within(moment) for moment, _ in days),
            happened=tuple(t for t in happened if t.action in _NEWS),
            open=tuple(state.incident for state in states.values() if state.incident is not None),
            retrains=self._retrains(name),
            performance=self._performance(days),
            year=year.summary(),
            broken=bool(year.broken),
            opened=year.opened,
            false_expected=year.false_expected,
        )

    def _watched_week(self, model: str) -> ModelWeek:
        past = VerdictHistory(self.database, model).until(self.end + timedelta(seconds=1))
        if not past:
            return ModelWeek(model, watched=True)
        last = past[0]
        steps = [Transition(**step) for one in reversed(past) for step in one.facts.get("transitions", ())]
        news = {step.incident: step for step in steps}.values()
        still = [step for step in news if step.action not in _ENDS]
        requests = [one for one in VerdictHistory.requests(past) if self._within(one.as_of)]
        return ModelWeek(
            model=model,
            version=last.version,
            promoted=min(one.end for one in past if one.version == last.version),
            windows=sum(self._within(one.end) for one in past),
            happened=tuple(step for step in steps if step.action in _NEWS and self._within(step.at)),
            open=tuple(
                Incident(step.incident, step.opened, step.severity, step.severity, step.at, step.cause)
                for step in still
            ),
            retrains=tuple(DigestRetrain(one.as_of, "requested", reason=one.reason) for one in requests),
            performance=Performance(**last.facts["performance"]),
            watched=True,
        )

    def _made(self, model: str, version: str) -> datetime:
        """Return when a version was registered, for a champion that was set by hand."""
        return _from_milliseconds(self.client.get_model_version(model, version).creation_timestamp)

    def _days(self, model: str) -> list[tuple[str, Run]]:
        """Return the monitored days up to the end, newest first."""
        runs = _runs(self.client, f"{model}-monitoring", "drift")
        found = [(run.data.tags[RUN_KEY].rpartition("/")[2], run) for run in runs]
        known = [(moment, run) for moment, run in found if parse_moment(moment) <= self.end]
        return sorted(known, key=lambda day: day[0], reverse=True)

    def _performance(self, days: list[tuple[str, Run]]) -> Performance | None:
        for _, run in days[:3]:
            from mlflow.exceptions import MlflowException

            try:
                return Performance(**read_json(self.client, run.info.run_id, "verdict.json")["performance"])
            except (MlflowException, OSError, KeyError, TypeError, json.JSONDecodeError):
                continue  # a day without a verdict
        return None

    def _retrains(self, model: str) -> tuple[DigestRetrain, ...]:
        found = []
        for run in _runs(self.client, model, "retrain"):
            tags = run.data.tags
            as_of = tags.get(AS_OF, "")
            if as_of and self._within(as_of):
                outcome = tags.get(OUTCOME, "did not finish")
                version, reason = tags.get(VERSION, ""), tags.get(REASON, "")
                found.append(DigestRetrain(as_of, outcome, version, reason))
        return tuple(sorted(found, key=lambda retrain: parse_moment(retrain.as_of)))

    def _within(self, moment: str) -> bool:
        return self.end - WEEK < parse_moment(moment) <= self.end


def _runs(client: MlflowClient, experiment: str, kind: str) -> list[Run]:
    found = client.get_experiment_by_name(experiment)
    if found is None:
        return []
    condition = f"tags.`{KIND}` = '{kind}'"
    order = ["attributes.start_time DESC"]
    return list(client.search_runs([found.experiment_id], condition, order_by=order, max_results=_MOST_RUNS))


def _notify(queue: MessageQueue, spec: ModelSpec, message: Message, url: str, sent: set[str]) -> set[str]:
    """Queue a message for a model's notifiers, once per notifier, because a team's models often share them."""
    new: set[str] = set()
    for destination, declared in zip(notifier_destinations(spec), spec.alerts.notifiers, strict=True):
        named = json.dumps([declared.model_dump(mode="json"), message.key], sort_keys=True)
        if named not in sent:
            new.add(named)
            queue.put(destination, QueuedMessage("post", "digest", message.to_json(), url))
    return new


def _from_milliseconds(stamp: int) -> datetime:
    return datetime.fromtimestamp(stamp / 1000, tz=UTC)
