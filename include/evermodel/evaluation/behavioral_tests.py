"""Behavioral tests: inputs that may be absent from the test window."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from evermodel.core.errors import GateError
from evermodel.evaluation.decision import Gate
from evermodel.spec import ModelSpec
from evermodel.spec.checks import BehaviourChecks, InvarianceCheck, MonotonicCheck
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pandas as pd

# Answers a frame of features; raises GateError if the model throws or answers with something invalid.
Ask = Callable[["pd.DataFrame"], Floats]

UNSEEN = "__never_seen__"
# Answers that differ by less are equal: sums may be added in another order when the rows are others.
_EQUAL = 1e-9


def behavioral_gates(spec: ModelSpec, features: pd.DataFrame, answers: Floats, ask: Ask) -> Iterator[Gate]:
    """Run the declared checks on a seeded sample of the test window.

    Parameters
    ----------
    features, answers
        The test window and the challenger's answers for it.
    """
    checks = spec.gate.behaviour
    if checks is None:
        return
    sample = features.sample(min(checks.rows, len(features)), random_state=spec.seed).reset_index(drop=True)
    yield _output(checks, sample, answers, ask)
    if checks.missing:
        yield _valid("missing values", sample, ask, dict.fromkeys(spec.features.names))
    if checks.unseen:
        yield _valid("unseen categories", sample, ask, dict.fromkeys(spec.features.categorical, UNSEEN))
    for invariant in checks.invariance:
        yield _invariance(spec, invariant, sample, ask)
    for monotonic in checks.monotonic:
        yield _monotonic(monotonic, sample, ask)


def _output(checks: BehaviourChecks, sample: pd.DataFrame, answers: Floats, ask: Ask) -> Gate:
    """Check that each row gets one valid answer in range, independent of other rows."""
    low, high = checks.output or (None, None)
    least, most = float(answers.min()), float(answers.max())
    bounds = f", {'…' if low is None else low} to {'…' if high is None else high}" if checks.output else ""
    threshold = f"one valid answer per row{bounds}"
    detail = f"answers from {least:.4g} to {most:.4g}"
    try:
        together, backwards, alone = ask(sample), ask(sample[::-1]), ask(sample.head(1))
    except GateError as error:
        return Gate("output", "fail", None, threshold, error.problem)
    if not len(together) == len(backwards) == len(sample) or len(alone) != 1:
        return Gate("output", "fail", None, threshold, f"{len(together)} answers for {len(sample)} rows")
    change = max(_largest(backwards[::-1] - together), _largest(alone - together[:1]))
    if change > _EQUAL:
        detail = f"the answer for a row depends on other rows: it changes by {change:.4g}"
        return Gate("output", "fail", change, threshold, detail)
    fine = (low is None or least >= low) and (high is None or most <= high)
    return Gate("output", "pass" if fine else "fail", change, threshold, detail)


def _valid(name: str, sample: pd.DataFrame, ask: Ask, replaced: dict[str, Any]) -> Gate:
    """Replace each column in turn and count those with invalid answers."""
    broken = {}
    for column, value in replaced.items():
        try:
            answers = ask(_with(sample, column, value))
        except GateError as error:
            broken[column] = error.problem
        else:
            if len(answers) != len(sample):
                broken[column] = f"{len(answers)} answers for {len(sample)} rows"
    detail = f"{len(replaced)} features tested"
    if broken:
        first = next(iter(broken))
        detail = f"invalid answer for {', '.join(broken)} ({first}: {broken[first]})"
    return Gate(name, "fail" if broken else "pass", float(len(broken)), "0 features", detail)


def _invariance(spec: ModelSpec, check: InvarianceCheck, sample: pd.DataFrame, ask: Ask) -> Gate:
    name, threshold = f"invariance of {check.column}", f"change ≤ {check.max_change}"
    numeric = check.column in spec.features.numeric
    changes = {}
    try:
        before = ask(sample)
        for value in check.values:
            changed = _with(sample, check.column, float(value) if numeric else str(value))
            changes[str(value)] = _largest(ask(changed) - before)
    except GateError as error:
        return Gate(name, "fail", None, threshold, error.problem)
    worst = max(changes, key=lambda value: changes[value])
    most = changes[worst]
    fine = most <= max(check.max_change, _EQUAL)
    detail = f"an answer changes by up to {most:.4g} when {check.column} becomes {worst}; {len(sample)} rows"
    return Gate(name, "pass" if fine else "fail", most, threshold, detail)


def _monotonic(check: MonotonicCheck, sample: pd.DataFrame, ask: Ask) -> Gate:
    name, threshold = f"{check.column} {check.direction}", f"in ≥ {check.share:.1%} of rows"
    known = sample[np.isfinite(sample[check.column])]
    step = check.step or (float(known[check.column].std(ddof=0)) if len(known) else 0.0)
    if step == 0:
        return Gate(
            name, "warn", None, threshold, f"not evaluated: {check.column} does not vary in the sample"
        )
    try:
        moved = ask(known.assign(**{check.column: known[check.column] + step})) - ask(known)
    except GateError as error:
        return Gate(name, "fail", None, threshold, error.problem)
    if check.direction == "decreasing":
        moved = -moved
    holds, moves = float((moved >= -_EQUAL).mean()), float((np.abs(moved) > _EQUAL).mean())
    detail = f"raised by {step:.4g} in {len(known)} rows: {moves:.1%} move, {1 - holds:.1%} the wrong way"
    if moves == 0:
        return Gate(name, "warn", holds, threshold, f"no answer depends on it; {detail}")
    return Gate(name, "pass" if holds >= check.share else "fail", holds, threshold, detail)


def _with(sample: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    """Return the sample with one column set to one value, of the type that the column has."""
    import pandas as pd

    dtype = sample[column].dtype
    filled = pd.Series([value] * len(sample), index=sample.index, dtype=dtype)
    return sample.assign(**{column: filled})


def _largest(change: Floats) -> float:
    return float(np.abs(change).max(initial=0.0))
