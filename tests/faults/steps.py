"""The steps that the fault sweep disturbs, in the order in which a model's life has them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from evermodel.core.step_contract import StepRequest
from evermodel.deployment.promotion import promote_version
from evermodel.deployment.rollback import roll_back
from evermodel.modeling.scoring.day import score_day
from evermodel.pipelines.deploy import approve
from evermodel.pipelines.drift import DriftRun, incident_handler
from evermodel.pipelines.steps import StepWork, run_step
from evermodel.registry.audit import verify
from evermodel.registry.held_model import HeldModel
from evermodel.registry.registry import ModelRegistry
from evermodel.registry.tracking import connect
from evermodel.spec.window import parse_moment
from support.fault_world import Answers, bucket_of
from support.flights import FAST, World
from support.prediction_logs import log_rows
from support.rollouts import RolloutWorld, counted
from support.verdicts import a_problem, a_verdict

FIRST, SECOND, DAY = "2013-03-11", "2013-03-18", "2013-03-25"
_ROLLOUT = {"strategy": "canary", "canary": {"steps": [0.3, 0.6]}}
FAST_NAME = FAST["name"]
Act = Callable[[World, Answers], Any]


@dataclass(frozen=True)
class Step:
    """One step.

    Parameters
    ----------
    act
        Does it, given the answers of the steps before, and returns what is the same each time.
    prepare
        What takes place before it, and is not disturbed.
    look
        What has to hold in the end, beside the state of the servers; returns what is wrong.
    """

    name: str
    act: Act
    prepare: Act | None = None
    look: Callable[[World], list[str]] | None = None


def begin(world: World) -> Any:
    """A champion, and eight days that it has scored."""
    world.champion(FIRST)
    for day in range(1, 9):
        score_day(world.spec, parse_moment(DAY) - timedelta(days=day), world.client, world.settings)


def begin_untrained(world: World) -> Any:
    """Two champions one after another, whose bytes are nobody's business."""
    made = _rollout_of(world)
    made.serve("r/1")
    made.serve("r/2")


def _step(name: str, inputs: Callable[[Answers], dict[str, Any]], **changes: Any) -> Act:
    def act(world: World, answers: Answers) -> Any:
        key = f"scheduled__{SECOND}"
        request = StepRequest(
            world.name,
            changes.get("as_of", SECOND),
            "" if "as_of" in changes else key,
            "weekly",
            inputs(answers),
        )
        settings = world.settings
        work = StepWork(world.spec, request, lambda: connect(settings.tracking_uri), settings, "faults")
        return run_step(name, work)

    return act


def _approve(world: World, answers: Answers) -> Any:
    retrain = world.retrain(SECOND, f"scheduled__{SECOND}", "weekly")
    return _promotion(retrain.deploy(answers["register"]["version"], "ada"))


def _promotion(done: Any) -> Any:
    return {name: value for name, value in asdict(done).items() if name != "at"}


def _alert(day: str, *problems: Any) -> Act:
    def act(world: World, answers: Answers) -> Any:
        from evermodel_provider.notifications.delivery import send_queue

        moment = parse_moment(day)
        watch = DriftRun(world.spec, moment, connect(world.settings.tracking_uri), world.settings)
        verdict = a_verdict(model=world.name, version="2", problems=problems)
        handler = replace(
            incident_handler(watch, verdict, {}), next_step=lambda kind: "Wait.", draw=_draw, now=moment
        )
        with tempfile.TemporaryDirectory() as folder:
            handled = handler.handle(verdict, moment, Path(folder))
        for report in send_queue(world.settings):
            if report.error is not None:
                raise report.error
        handler.remember_deliveries(handled)
        return [(done.kind, done.action, done.incident, done.message) for done in handled]

    return act


def _draw(path: Path) -> Path:
    path.write_bytes(b"png")
    return path


def _rollback(world: World, answers: Answers) -> Any:
    client = connect(world.settings.tracking_uri)
    return _promotion(roll_back(client, world.name, by="eve", reason="worse", run_key="rollback/1"))


def _promote(world: World, answers: Answers) -> Any:
    client = connect(world.settings.tracking_uri)
    return _promotion(
        promote_version(client, world.name, "2", by="ada", reason="better", run_key="promote/1")
    )


def _rollout_of(world: World) -> RolloutWorld:
    return RolloutWorld(world, _ROLLOUT, world.name)


def _judged(number: int) -> Act:
    return lambda world, answers: _rollout_of(world).judged(f"r/{number}", str(number - 1))


def _start(world: World, answers: Answers) -> Any:
    made = _rollout_of(world)
    client = connect(world.settings.tracking_uri)
    return asdict(approve(made.spec, "3", client, world.settings, by="ada", reason="go"))


def _report(hours: int) -> Act:
    def act(world: World, answers: Answers) -> Any:
        made = _rollout_of(world)
        plan = made.plan
        made.report(
            _hours_after(plan.since, hours),
            {plan.champion: counted(2000 * hours, 2), plan.challenger: counted(2000 * hours, 2)},
        )

    return act


def _advance(hours: int) -> Act:
    def act(world: World, answers: Answers) -> Any:
        made = _rollout_of(world)
        done = made.steps.advance(_hours_after(made.plan.since, hours))
        return done.state, done.step, done.share

    return act


def _hours_after(moment: str, hours: int) -> datetime:
    return datetime.fromisoformat(moment) + timedelta(hours=hours)


def _start_another(world: World, answers: Answers) -> Any:
    _judged(4)(world, answers)
    _rollout_of(world).steps.start("4", by="me", reason="weekly", run_key="k/4")


def _stop(world: World, answers: Answers) -> Any:
    done = _rollout_of(world).steps.stop(by="eve", reason="enough")
    return done.state, done.arms


def _log(world: World) -> list[str]:
    ids = log_rows(bucket_of(world), world.name)["prediction_id"].to_pylist()
    return [f"{len(ids) - len(set(ids))} rows twice"] if len(ids) != len(set(ids)) else []


def _registry(world: World) -> list[str]:
    registry = ModelRegistry(world.client)
    entry = registry.read(world.name)
    problems = verify(world.client, entry)[1]
    if entry.promotions[-1].version != entry.champion:
        problems.append("the champion is not the history's end")
    if entry.promotions[-1].previous != entry.previous:
        problems.append("the alias previous is not the version before")
    with registry.holding(world.name) as held:
        problems += (
            ["something was left unfinished"] if isinstance(held, HeldModel) and held.completed else []
        )
    return problems


_SNAPSHOT: Callable[[Answers], dict[str, Any]] = lambda said: {"snapshot": said["validate"]["snapshot"]}  # noqa: E731

STEPS = (
    Step("extract", _step("extract", lambda said: {})),
    Step("validate", _step("validate", lambda said: {"snapshot": said["extract"]})),
    Step("train", _step("train", lambda said: {**_SNAPSHOT(said), "candidate": FAST_NAME})),
    Step("evaluate", _step("evaluate", lambda said: {**_SNAPSHOT(said), "trained": [said["train"]]})),
    Step("register", _step("register", _SNAPSHOT)),
    Step("approve and deploy", _approve, look=_registry),
    Step(
        "finish",
        _step(
            "finish",
            lambda said: {"version": said["register"]["version"], "promotion": said["approve and deploy"]},
        ),
    ),
    Step("score", _step("score", lambda said: {}, as_of=DAY), look=_log),
    Step("drift verdict", _step("drift_verdict", lambda said: {}, as_of=DAY)),
    Step("drift report", _step("drift_report", lambda said: {}, as_of=DAY)),
    Step("alert", _alert(DAY, a_problem())),
    Step("alert ends", _alert("2013-03-26", a_problem(severity="none", reason="no column drifts"))),
    Step("rollback", _rollback, look=_registry),
    Step("promote", _promote, look=_registry),
    Step("rollout start", _start, prepare=_judged(3), look=_registry),
    Step("rollout step", _advance(1), prepare=_report(1), look=_registry),
    Step("rollout promotes", _advance(2), prepare=_report(2), look=_registry),
    Step("rollout stop", _stop, prepare=_start_another, look=_registry),
)
_SAMPLE = ("extract", "alert", "rollback", "promote", "rollout start", "rollout step")
UNTRAINED = tuple(step for step in STEPS if step.name in _SAMPLE)  # of those that need no model's bytes
