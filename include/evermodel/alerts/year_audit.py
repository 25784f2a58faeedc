"""What was promised of a model's year and what came true, from its own history in MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from evermodel.alerts.incidents.store import Transition, incident_history
from evermodel.core.formats import JsonData, stamped
from evermodel.deployment.serving_watch import RUN_LENGTH
from evermodel.evaluation.next_window import GainPrediction
from evermodel.monitoring.drift.verdict import PromotionEffect
from evermodel.monitoring.performance.answers import metric_to_watch
from evermodel.monitoring.performance.promotion_effect import LEVEL
from evermodel.monitoring.summary_tags import effect_of, read_mark
from evermodel.registry import tags as tag
from evermodel.registry.registry import AUTOMATIC, ModelRegistry
from evermodel.registry.registry_entry import Promotion
from evermodel.registry.tracking import experiment_id, paged
from evermodel.spec import ModelSpec
from evermodel.spec.parts import margin_share
from evermodel.spec.window import parse_moment

if TYPE_CHECKING:
    from evermodel.registry.client import MlflowClient

YEAR = timedelta(days=365)
_IN_LINE = 0.99  # of the counts that a promise leads to; a larger one breaks it
_FEWEST_DAYS = 5  # of an effect that is compared with a prediction
_ESTIMATE_COVERAGE = 0.95
_ANCHOR_GATE = "against the best version of twelve months"
_PAGE = 1000


@dataclass(frozen=True)
class Promise(JsonData):
    """One promise, and what came true of it.

    Parameters
    ----------
    count, of
        Realised cases; None where they are not counted or not known.
    kept
        False if so many cases contradict the promise; None if it cannot be told.
    note
        What cannot be known, or not yet.
    """

    name: str
    promised: str
    realised: str
    count: int | None = None
    of: int | None = None
    kept: bool | None = None
    note: str = ""


@dataclass(frozen=True)
class YearAudit(JsonData):
    """The promises of a model, and what came true in the year that ends at a moment.

    Parameters
    ----------
    opened
        Incidents of drift and performance.
    false_expected
        So many false ones the stated rates of these two lead to, at most: a window's false alarm may open none.
    """

    model: str
    start: str
    end: str
    promotions: int
    windows: int
    promises: tuple[Promise, ...]
    opened: int = 0
    false_expected: float = 0.0

    @property
    def broken(self) -> tuple[Promise, ...]:
        """The promises that the year contradicts."""
        return tuple(promise for promise in self.promises if promise.kept is False)

    def summary(self) -> tuple[str, ...]:
        """Return the audit in two lines; none before anything is known."""
        known = [p for p in self.promises if p.count is not None and p.of]
        if not known:
            return ()
        told = "; ".join(f"{p.name} {p.realised}" for p in known)
        broken = ", ".join(p.name for p in self.broken)
        return f"year: {told}", f"promises: {f'not kept: {broken}' if broken else 'none contradicted'}"


def year_audit(spec: ModelSpec, client: MlflowClient, end: datetime) -> YearAudit:
    """Compare what was promised with what came true, in the year that ends at a moment.

    Parameters
    ----------
    end
        Windows and promotions after it do not count.

    Returns
    -------
    One line for each promise. What cannot be known, or not yet, is said.
    """
    start, within = end - YEAR, _within_year(end)
    past = _promotions(spec, client, within)
    made = [line for line in past if _replaced_one(line)]
    days = _days(spec, client, within)
    effects = _effects(days)
    happened = [line for line in incident_history(client, spec.name, start) if within(line.at)]
    return YearAudit(
        model=spec.name,
        start=start.isoformat(),
        end=end.isoformat(),
        promotions=len(made),
        windows=len(days),
        opened=sum(line.action == "open" and line.kind in ("drift", "performance") for line in happened),
        false_expected=(spec.drift.false_alarm_rate + spec.performance.false_alarm_rate) * len(days),
        promises=(
            _gate_intervals(spec, client, made, effects),
            _hurt(spec, made, effects),
            _anchor(spec, client, within),
            _rollbacks(past, len(effects), days),
            _drift_incidents(spec, happened, days),
            _performance_incidents(spec, happened, days),
            _estimates(spec, days),
        ),
    )


def keep_audit(client: MlflowClient, audit: YearAudit) -> None:
    """Write an audit where the Models page finds it."""
    text = json.dumps(stamped(audit.to_json()), sort_keys=True)
    client.set_registered_model_tag(audit.model, tag.YEAR_AUDIT, text)


def in_line(cases: int, rate: float) -> int:
    """Return the largest count that is in line with a rate: larger ones have a chance below 1 %.

    Clopper, Pearson (1934), The use of confidence or fiducial limits, Biometrika 26: the test behind their interval.

    >>> in_line(26, 0.025), in_line(300, 0.01), in_line(0, 0.05)
    (3, 8, 0)
    """
    from scipy.stats import binom

    return int(binom.ppf(_IN_LINE, cases, rate)) if cases else 0


Days = Mapping[str, Mapping[str, str]]
Effects = Mapping[tuple[str, datetime], PromotionEffect]


def _within_year(end: datetime) -> Callable[[str], bool]:
    return lambda moment: end - YEAR < parse_moment(moment) <= end


def _promotions(spec: ModelSpec, client: MlflowClient, within: Callable[[str], bool]) -> list[Promotion]:
    return [line for line in ModelRegistry(client).read(spec.name).promotions if within(line.at)]


def _replaced_one(line: Promotion) -> bool:
    return line.kind == "promotion" and line.previous is not None


def _days(spec: ModelSpec, client: MlflowClient, within: Callable[[str], bool]) -> Days:
    """Return the tags of each monitored day, oldest first, by the end of its window."""
    runs = paged(
        client.search_runs,
        [experiment_id(client, f"{spec.name}-monitoring")],
        filter_string=f"tags.`{tag.KIND}` = 'drift'",
        order_by=[f"tags.`{tag.RUN_KEY}` ASC"],
        max_results=_PAGE,
    )
    found = ((run.data.tags.get(tag.RUN_KEY, "").rpartition("/")[2], run.data.tags) for run in runs)
    return {day: tags for day, tags in found if day and tag.DAY in tags and within(day)}


def _effects(days: Days) -> Effects:
    """Return the last known effect of each promotion, by version and time."""
    known = (effect_of(tags) for tags in days.values())
    return {
        (one.version, parse_moment(one.since)): one
        for one in known
        if one is not None and one.gain is not None
    }


def _key(line: Promotion) -> tuple[str, datetime]:
    return line.version, parse_moment(line.at)


def past_gains(spec: ModelSpec, client: MlflowClient, end: datetime) -> list[tuple[GainPrediction, float]]:
    """Return the gains that decisions of the last year predicted, with what came by a moment."""
    within = _within_year(end)
    made = [line for line in _promotions(spec, client, within) if _replaced_one(line)]
    return _predicted(spec, client, made, _effects(_days(spec, client, within))) if made else []


def _predicted(
    spec: ModelSpec, client: MlflowClient, made: Sequence[Promotion], effects: Effects
) -> list[tuple[GainPrediction, float]]:
    """Return each promotion's predicted gain with that of its comparison, where both are known and of one metric."""
    found = []
    for line in made:
        text = client.get_model_version(spec.name, line.version).tags.get(tag.GATE_PREDICTION, "")
        effect = effects.get(_key(line))
        if not text or effect is None or effect.days < _FEWEST_DAYS or effect.gain is None:
            continue
        promised = GainPrediction.from_text(text)
        if (promised.metric, promised.champion) == (effect.metric, effect.replaced):
            found.append((promised, effect.gain))
    return found


def _gate_intervals(
    spec: ModelSpec,
    client: MlflowClient,
    made: Sequence[Promotion],
    effects: Effects,
) -> Promise:
    found = _predicted(spec, client, made, effects)
    level = found[-1][0].level if found else spec.gate.confidence
    held, known = sum(one.lower <= came <= one.upper for one, came in found), len(found)
    missed = known - held
    return Promise(
        "gate's intervals",
        f"{level:.0%} hold the gain that the next window shows",
        f"{held} of {known} held" if known else "not known",
        held if known else None,
        known if known else None,
        missed <= in_line(known, 1 - level) if known else None,
        _unknown(len(made) - known, "promotions have no matured comparison, or no prediction"),
    )


def _hurt(spec: ModelSpec, made: Sequence[Promotion], effects: Effects) -> Promise:
    rate = (1 - spec.gate.confidence) / 2
    found = [effects[_key(line)] for line in made if _key(line) in effects]
    hurt = sum(one.gain is not None and one.gain < -one.margin for one in found)
    proved, limit = sum(one.hurt for one in found), in_line(len(found), rate)
    return Promise(
        "promotions that hurt",
        f"at most {rate:.1%} lose more than the margin: up to {limit} of {len(found)} are in line with it",
        f"{hurt} of {len(found)} ({proved} proved)" if found else "not known",
        hurt if found else None,
        len(found) if found else None,
        proved <= limit if found else None,
        _unknown(len(made) - len(found), "promotions have no matured comparison"),
    )


def _anchor(spec: ModelSpec, client: MlflowClient, within: Callable[[str], bool]) -> Promise:
    budget = spec.gate.year_budget
    limit = f"{budget} of the gain over no skill" if margin_share(budget) is not None else f"{budget}"
    runs = paged(
        client.search_runs,
        [experiment_id(client, spec.name)],
        filter_string=f"tags.`{tag.KIND}` = 'retrain' and tags.`{tag.SHIP}` = 'true'",
        order_by=["attributes.start_time DESC"],
        max_results=_PAGE,
    )
    for run in runs:
        if not within(run.data.tags.get(tag.AS_OF, "1970-01-01")):
            continue
        gates = read_mark(run.data.tags, tag.DECISION_FACTS).get("gates", [])
        gate = next((one for one in gates if _ANCHOR_GATE in one["name"]), None)
        if gate is not None and gate["value"] is not None:
            lost = max(0.0, -gate["value"])
            text = f"{lost:.4f} {spec.gate.metric} on its test window"
            kept = gate["verdict"] != "fail"
            return Promise("lost to the anchor", f"at most {limit} in twelve months", text, kept=kept)
    return Promise(
        "lost to the anchor",
        f"at most {limit} in twelve months",
        "not known",
        note="no version that shipped was compared with an anchor",
    )


def _rollbacks(past: Sequence[Promotion], watched: int, days: Days) -> Promise:
    made = [line for line in past if line.kind == "rollback" and line.by == AUTOMATIC]
    expected = LEVEL * watched + len(days) / RUN_LENGTH
    return Promise(
        "automatic rollbacks",
        f"at most {expected:.1f} false ones expected",
        f"{len(made)} made",
        note="whether one was false cannot be known: the version answers no more" if made else "",
    )


def _drift_incidents(spec: ModelSpec, happened: Sequence[Transition], days: Days) -> Promise:
    rate, cases = spec.drift.false_alarm_rate, len(days)
    opened = [line for line in happened if line.action == "open" and line.kind == "drift"]
    return Promise(
        "drift incidents",
        f"{rate:.1%} of quiet windows give a false one: at most {rate * cases:.1f} expected",
        f"{len(opened)} opened" if cases else "not known",
        note="which were false or missed cannot be known without knowing the drift" if cases else "",
    )


def _performance_incidents(spec: ModelSpec, happened: Sequence[Transition], days: Days) -> Promise:
    """Count windows whose metric lay below the baseline by more than its error, without a problem."""
    opened = sum(line.action == "open" and line.kind == "performance" for line in happened)
    missed, known, rising = 0, 0, metric_to_watch(spec).higher_is_better
    for tags in days.values():
        facts, severities = read_mark(tags, tag.DAY), read_mark(tags, tag.SEVERITIES)
        low, high, promised = (facts.get(name) for name in ("low", "high", "promised"))
        if low is None or high is None or promised is None or "performance" not in severities:
            continue
        known += 1
        below = high < promised if rising else low > promised
        missed += below and severities["performance"] == "none"
    return Promise(
        "performance incidents",
        "opens where the metric is below its baseline by more than the margin",
        f"{opened} opened; {missed} of {known} windows below the baseline without one"
        if known
        else "not known",
        note="a window below the baseline may be within the margin" if missed else "",
    )


def _estimates(spec: ModelSpec, days: Days) -> Promise:
    """Hold the estimates of each window against the metric of the same window, when its labels had matured."""
    held = known = 0
    for day, tags in days.items():
        facts = read_mark(tags, tag.DAY)
        later = days.get(f"{parse_moment(day) + spec.label.delay:%Y-%m-%d}", {})
        value = read_mark(later, tag.DAY).get("value")
        low, high = facts.get("estimated_low"), facts.get("estimated_high")
        if value is None or low is None or high is None or tags.get(tag.VERSION) != later.get(tag.VERSION):
            continue
        known += 1
        held += low <= value <= high
    return Promise(
        "estimates before labels",
        f"{_ESTIMATE_COVERAGE:.0%} hold the metric that the labels show",
        f"{held} of {known} held" if known else "not known",
        held if known else None,
        known if known else None,
        note="" if known else "windows whose labels have matured, with an estimate stored, are needed",
    )


def _unknown(count: int, why: str) -> str:
    return f"{count} {why}" if count > 0 else ""
