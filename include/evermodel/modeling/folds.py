"""Folds in the order of time: each is fitted on the rows before those that it is measured on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from evermodel.spec import ModelSpec
from evermodel.spec.window import Window, split_window


@dataclass(frozen=True)
class Fold:
    """What is fitted on, and what is measured on; the first ends where the second begins."""

    fit: Window
    check: Window


def folds_of(spec: ModelSpec, as_of: datetime) -> list[Fold]:
    """Cut train and validation into folds, oldest first; the last one is measured on the validation part.

    Each is measured on as much time as `split.validation`. Expanding folds are fitted on everything before, rolling
    ones on the same length of time each. One fold is the plain split into train and validation.

    >>> from datetime import timedelta
    >>> spec = ModelSpec.model_construct(**{
    ...     "label": ModelSpec.model_fields["label"].annotation(column="y"),
    ...     "split": ModelSpec.model_fields["split"].annotation(train="6d", validation="2d", test="1d"),
    ...     "training": ModelSpec.model_fields["training"].annotation(folds={"kind": "rolling", "count": 3}),
    ... })
    >>> for fold in folds_of(spec, datetime(2024, 1, 10)):
    ...     print(fold.fit.start.day, fold.check.start.day, fold.check.end.day)
    1 3 5
    3 5 7
    5 7 9
    """
    parts = split_window(spec, as_of)
    count, length = spec.training.folds.count, spec.split.validation
    rolling = spec.training.folds.kind == "rolling"
    made = []
    for number in range(count):
        check = parts.validation.start - (count - 1 - number) * length
        start = parts.train.start + number * length if rolling else parts.train.start
        made.append(Fold(Window(start, check), Window(check, check + length)))
    return made
