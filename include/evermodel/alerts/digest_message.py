"""The weekly message to a team: its models' events, and one line per quiet model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from evermodel.alerts.blocks import Block, divider, section
from evermodel.alerts.incident_message import TITLES
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import Transition
from evermodel.alerts.message import Message, compose
from evermodel.alerts.text import code, instant, moment, words
from evermodel.monitoring.drift.figures import performance_figure
from evermodel.monitoring.drift.verdict import Performance
from evermodel.registry.tags import RetrainOutcome
from evermodel.spec.window import parse_moment

MOST_MODELS = 20
MOST_LINES = 8
_ACTIONS = {"open": "opened", "escalate": "became worse", "resolve": "resolved", "close": "switched off"}


@dataclass(frozen=True)
class DigestRetrain:
    """One retrain and its outcome."""

    as_of: str
    outcome: str
    version: str = ""
    reason: str = ""


@dataclass(frozen=True)
class ModelWeek:
    """The week of one model.

    Parameters
    ----------
    version, promoted
        The champion, and the start of its time as champion; None if there is none.
    windows
        Number of monitored days of the week.
    happened
        Incidents that opened, escalated or ended.
    performance
        The primary metric, against its baseline.
    year
        What was promised in twelve months and what came true, in two lines; none before anything is known.
    broken
        Whether the year contradicts a promise.
    watched
        Whether the model is trained and served elsewhere.
    opened, false_expected
        Incidents of twelve months, and how many false ones the stated rates lead to at most.
    """

    model: str
    version: str | None = None
    promoted: str = ""
    windows: int = 0
    happened: tuple[Transition, ...] = ()
    open: tuple[Incident, ...] = ()
    retrains: tuple[DigestRetrain, ...] = ()
    performance: Performance | None = None
    year: tuple[str, ...] = ()
    broken: bool = False
    watched: bool = False
    opened: int = 0
    false_expected: float = 0.0

    @property
    def quiet(self) -> bool:
        """True if the model needs only one line."""
        routine = all(retrain.outcome == RetrainOutcome.KEPT for retrain in self.retrains)
        return (
            self.version is not None
            and self.windows > 0
            and not (self.happened or self.open or self.broken)
            and routine
        )


@dataclass(frozen=True)
class TeamWeek:
    """The week of a team."""

    owner: str
    start: str
    end: str
    models: tuple[ModelWeek, ...]


def digest_message(week: TeamWeek, links: Mapping[str, str]) -> Message:
    """Build the digest; one for each team and week."""
    loud = [model for model in week.models if not model.quiet]
    quiet = [model for model in week.models if model.quiet]
    summary = _summary(week)
    body: list[Block] = [
        section(f"{words(moment(week.start), 40)} until {words(moment(week.end), 40)}: {summary}")
    ]
    for model in loud[:MOST_MODELS]:
        body += [
            divider(),
            section(f"{code(model.model)} {words(_state(model, week.end), 300)}", *_bullets(model)),
        ]
    if len(loud) > MOST_MODELS:
        body.append(section(f"and {len(loud) - MOST_MODELS} more models"))
    if quiet:
        shown = [f"{code(model.model, 60)} {words(_state(model, week.end), 120)}" for model in quiet]
        body += [divider(), section(f"*Quiet* ({len(quiet)}): " + "; ".join(shown[:MOST_MODELS]))]
    fleet = _fleet(week.models)
    body += [section(words(fleet))] if fleet else []
    plain = [f"{moment(week.start)} until {moment(week.end)}: {summary}", *([fleet] if fleet else [])]
    for model in loud:
        plain.append(f"{model.model}: {_state(model, week.end)}")
        plain += [f"  - {line}" for line in _lines(model)]
    if quiet:
        plain.append("Quiet: " + "; ".join(f"{model.model} {_state(model, week.end)}" for model in quiet))
    return compose(
        key=f"digest-{instant(week.end)}",
        model=week.owner,
        severity="info",
        title=f"{week.owner}: the week of {_counted(len(week.models), 'model')}",
        plain=plain,
        body=body,
        links=links,
        footer="weekly digest",
    )


def _fleet(models: Sequence[ModelWeek]) -> str:
    """Return how many of the year's incidents may have been false; empty before there is one."""
    opened, false = sum(model.opened for model in models), sum(model.false_expected for model in models)
    if not opened:
        return ""
    share = min(1.0, false / opened)
    return (
        f"Twelve months: {_counted(opened, 'incident')} of drift and performance; the stated false-alarm rates lead to "
        f"at most {false:.1f} false ones ({share:.0%})."
    )


def _summary(week: TeamWeek) -> str:
    opened = sum(t.action == "open" for model in week.models for t in model.happened)
    ended = sum(t.action in ("resolve", "close") for model in week.models for t in model.happened)
    now = sum(len(model.open) for model in week.models)
    shipped = sum(
        retrain.outcome == RetrainOutcome.DEPLOYED for model in week.models for retrain in model.retrains
    )
    if not (opened or ended or now or shipped) and all(model.quiet for model in week.models):
        return "a quiet week."
    shown = (_counted(opened, "incident"), _counted(shipped, "new champion"))
    return f"{shown[0]} opened, {ended} ended, {now} open now; {shown[1]}."


def _counted(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _state(model: ModelWeek, end: str) -> str:
    if model.version is None:
        return "no window evaluated yet" if model.watched else "no champion yet"
    age = (parse_moment(end) - parse_moment(model.promoted)).days
    performance = (
        "performance not yet known" if model.performance is None else performance_figure(model.performance)
    )
    serving = f"version {model.version}, {age} days old" if age > 0 else f"version {model.version}, new"
    return f"{serving}, {performance}"


def _bullets(model: ModelWeek) -> list[str]:
    lines = _lines(model)
    more = [f"and {len(lines) - MOST_LINES} more"] if len(lines) > MOST_LINES else []
    return [*(f"• {words(line)}" for line in lines[:MOST_LINES]), *more]


def _lines(model: ModelWeek) -> list[str]:
    lines = []
    if model.version is not None and model.windows == 0:
        lines.append("no day monitored: check its drift DAG")
    for incident in model.open:
        cause = f": {incident.cause}" if incident.cause else ""
        title = TITLES[incident.id.partition("-")[0]]
        lines.append(f"open since {moment(incident.opened)}: {title} ({incident.current}){cause}")
    still_open = {incident.id for incident in model.open}
    for told in model.happened:
        if told.action == "open" and told.incident in still_open:
            continue
        cause = f": {told.cause}" if told.cause and told.action == "open" else ""
        lines.append(
            f"{moment(told.at)}: {TITLES[told.kind]} {_ACTIONS[told.action]} ({told.severity}){cause}"
        )
    for retrain in model.retrains:
        version = f", version {retrain.version}" if retrain.version else ""
        reason = f" ({retrain.reason})" if retrain.reason else ""
        lines.append(f"{moment(retrain.as_of)}: retrain {retrain.outcome}{version}{reason}")
    return [*model.year, *lines]
