"""How sure an answer is, and why: prediction sets or intervals, and attributions to features, from what a version keeps."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from evermodel.modeling.scoring.answer_reference import AnswerReference
from evermodel.modeling.scoring.loaded_version import ServedModel
from evermodel.modeling.scoring.request_json import RequestRefusedError
from evermodel.modeling.scoring.request_rows import Row

if TYPE_CHECKING:
    from evermodel.stats.metrics import Floats

Detail = Literal["interval", "explain"]
DETAILS: tuple[Detail, ...] = ("interval", "explain")
_MOST_EXPLAINED = 100  # rows of one request
_CALLS = 20_000  # rows that the model answers for one explained row


def details_of(served: ServedModel, rows: Sequence[Row], asked: Collection[Detail]) -> list[dict[str, Any]]:
    """Return the fields that a request asks for beside each row's answer.

    Raises
    ------
    RequestRefusedError
        The version keeps nothing for them, or the rows are too many (422).
    """
    reference, found = served.reference, [dict[str, Any]() for _ in rows]
    if "interval" in asked:
        if reference is None or reference.quantile is None:
            raise _unknown(served, "interval", "serving.coverage")
        for fields, more in zip(found, _intervals(served, rows, reference.quantile), strict=True):
            fields.update(more, coverage=reference.coverage)
    if "explain" in asked:
        if reference is None or not reference.background:
            raise _unknown(served, "explain", "serving.explain")
        if len(rows) > _MOST_EXPLAINED:
            raise RequestRefusedError(
                422, f"explain: {len(rows)} rows, at most {_MOST_EXPLAINED} are explained", "send fewer rows"
            )
        for fields, row in zip(found, rows, strict=True):
            fields.update(_explained(served, row, reference))
    return found


def _unknown(served: ServedModel, asked: str, field: str) -> RequestRefusedError:
    problem = f"{asked}: version {served.version} of {served.name} keeps nothing for it"
    return RequestRefusedError(422, problem, f"set `{field}` in the spec and retrain")


def _intervals(served: ServedModel, rows: Sequence[Row], quantile: float) -> list[dict[str, Any]]:
    import numpy as np

    from evermodel.stats.conformal import prediction_sets

    answers, classes = served.outputs(rows)
    if served.spec.numeric_answers:
        return [{"interval": [value - quantile, value + quantile]} for value in answers[:, 0].tolist()]
    if served.spec.task == "binary":
        answers, classes = np.column_stack([1 - answers, answers]), ("0", "1")
    inside = prediction_sets(answers, quantile)
    return [
        {"classes": [name for name, likely in zip(classes, row, strict=True) if likely]} for row in inside
    ]


def _explained(served: ServedModel, row: Row, reference: AnswerReference) -> dict[str, Any]:
    """Return the Shapley value of each feature, largest first, and what they add up to the answer from."""
    found = shapley_values(served, row, reference)
    named = dict(zip(served.inputs.names, found.values.tolist(), strict=True))
    largest = sorted(named, key=lambda name: -abs(named[name]))
    return {"baseline": found.baseline, "attributions": {name: named[name] for name in largest}}


class ShapleyValues(NamedTuple):
    """Of each feature, in the order of the inputs, and what they add up to the answer from."""

    baseline: float
    values: Floats


def shapley_values(
    served: ServedModel, row: Row, reference: AnswerReference, calls: int = _CALLS
) -> ShapleyValues:
    """Return by how much each feature moves a row's answer away from the mean one to the kept rows.

    Features are switched one by one from a background row to the explained one, in a random order and in the reverse one:
    the answers' changes are unbiased estimates of the interventional Shapley values (Štrumbelj, Kononenko: Explaining
    prediction models and individual predictions with feature contributions, Knowledge and Information Systems 41, 2014),
    exact where features add up, and add up to the answer in any case.

    Parameters
    ----------
    calls
        Rows that the model answers, about.
    """
    import numpy as np

    places = [reference.features.index(name) for name in served.inputs.names]
    background = [tuple(kept[place] for place in places) for kept in reference.background]
    count = len(row)
    background = background[: max(1, calls // (2 * (count + 1)))]
    generator = np.random.default_rng(0)
    orders = np.concatenate(
        [(order, order[::-1]) for order in (generator.permutation(count) for _ in background)]
    )
    switched = np.argsort(orders, axis=1)[:, None, :] < np.arange(count + 1)[None, :, None]
    of = np.repeat(np.arange(len(background)), 2)
    answers = served.mixed(row, background, np.repeat(of, count + 1), switched.reshape(-1, count))
    steps = answers[:, 0 if answers.shape[1] == 1 else int(answers[count].argmax())].reshape(
        len(of), count + 1
    )
    values = np.zeros(count)
    np.add.at(values, orders, np.diff(steps, axis=1))
    return ShapleyValues(float(steps[:, 0].mean()), values / len(of))
