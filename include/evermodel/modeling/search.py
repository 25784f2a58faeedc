"""A seeded search for better parameters: Optuna proposes, folds in the order of time score."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from evermodel.core.errors import TrainingError
from evermodel.modeling.tasks import primary
from evermodel.spec import CandidateSpec, ModelSpec
from evermodel.spec.training import RangeSpec, SearchSpec, SpaceEntry

if TYPE_CHECKING:
    import optuna

# Every metric of one fold, by name.
FoldMetrics = dict[str, float]
MeasureFold = Callable[[dict[str, Any], int], FoldMetrics]


@dataclass
class Trial:
    """One set of parameters that was tried.

    Parameters
    ----------
    number
        From 0 on, in the order of trying.
    state
        ``complete``; ``pruned``: given up because it was worse than the others on its first folds; ``failed``.
    folds
        What was measured on each fold, until it was given up.
    started, ended
        Milliseconds since 1970.
    """

    number: int
    params: dict[str, Any] = field(default_factory=dict)
    state: Literal["complete", "pruned", "failed"] = "failed"
    folds: list[FoldMetrics] = field(default_factory=list)
    started: int = 0
    ended: int = 0
    problem: str = ""

    @property
    def mean(self) -> FoldMetrics:
        """The mean of every metric over the folds."""
        return mean_of(self.folds)


def mean_of(folds: list[FoldMetrics]) -> FoldMetrics:
    """Return the mean of every metric over folds."""
    return {name: float(np.mean([fold[name] for fold in folds])) for name in (folds[0] if folds else {})}


def search(
    spec: ModelSpec,
    candidate: CandidateSpec,
    measure_fold: MeasureFold,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> dict[str, Any]:
    """Return the parameters with the best mean of the primary metric over the folds.

    The same seed, data and number of trials give the same parameters. Where the declared parameters lie in the space,
    they are the first trial, so that the search ends no worse than it began.

    Parameters
    ----------
    candidate
        With a search section.
    measure_fold
        Fits parameters on a fold, by its number, and measures them there.

    Raises
    ------
    TrainingError
        No trial could be completed.
    """
    import optuna

    assert candidate.search is not None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    objective = _Objective(spec, candidate, measure_fold, on_trial)
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=spec.seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=5),
        direction="maximize" if primary(spec).higher_is_better else "minimize",
    )
    first = _declared(candidate.search, candidate.params)
    if first:
        study.enqueue_trial(first)
    minutes = candidate.search.minutes
    study.optimize(
        objective,
        n_trials=candidate.search.trials,
        timeout=None if minutes is None else minutes * 60,
        n_jobs=1,
        catch=(TrainingError,),
    )
    done = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.COMPLETE]
    if not done:
        raise TrainingError(
            f"model {spec.name}: candidate {candidate.name}: none of {len(study.trials)} trials completed; "
            f"the first one failed: {objective.first_problem}",
            "correct `search.space` or `params`; the other candidates continue",
        )
    chosen: dict[str, Any] = study.best_trial.user_attrs["params"]
    return {**candidate.params, **chosen}


@dataclass
class _Objective:
    """What Optuna calls for each trial."""

    spec: ModelSpec
    candidate: CandidateSpec
    measure_fold: MeasureFold
    on_trial: Callable[[Trial], None]
    first_problem: str = ""

    def __call__(self, asked: optuna.Trial) -> float:
        import optuna

        trial = Trial(asked.number, started=_now())
        try:
            value = self._measure(asked, trial)
            trial.state = "complete"
            return value
        except optuna.TrialPruned:
            trial.state = "pruned"
            raise
        except TrainingError as error:
            trial.problem = error.problem
            self.first_problem = self.first_problem or error.problem
            raise
        finally:
            trial.ended = _now()
            self.on_trial(trial)

    def _measure(self, asked: optuna.Trial, trial: Trial) -> float:
        import optuna

        assert self.candidate.search is not None
        trial.params = {
            name: _suggest(asked, name, entry) for name, entry in self.candidate.search.space.items()
        }
        asked.set_user_attr("params", trial.params)
        metric, count = self.spec.gate.metric, self.spec.training.folds.count
        for number in range(count):
            trial.folds.append(self.measure_fold({**self.candidate.params, **trial.params}, number))
            mean = trial.mean[metric]
            asked.report(mean, step=number)
            if number < count - 1 and asked.should_prune():
                raise optuna.TrialPruned
        return mean


def _suggest(asked: optuna.Trial, name: str, entry: SpaceEntry) -> Any:
    if not isinstance(entry, RangeSpec):
        # By place: a choice may be anything that YAML can write, and 1, 1.0 and true are different ones.
        return entry[asked.suggest_categorical(name, list(range(len(entry))))]
    if entry.whole:
        return asked.suggest_int(name, int(entry.low), int(entry.high), log=entry.log)
    return asked.suggest_float(name, float(entry.low), float(entry.high), log=entry.log)


def _declared(search: SearchSpec, params: dict[str, Any]) -> dict[str, Any]:
    """Return the declared parameters that lie in the space, as Optuna counts them."""
    found: dict[str, Any] = {}
    for name, entry in search.space.items():
        if name not in params:
            continue
        value = params[name]
        if isinstance(entry, RangeSpec):
            number = isinstance(value, int if entry.whole else int | float) and not isinstance(value, bool)
            if number and entry.low <= value <= entry.high:
                found[name] = value if entry.whole else float(value)
        else:
            places = [i for i, choice in enumerate(entry) if choice == value and type(choice) is type(value)]
            if places:
                found[name] = places[0]
    return found


def _now() -> int:
    return int(time.time() * 1000)
