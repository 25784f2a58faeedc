"""The rows that an adopted model is judged on, and the answers of its versions to them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evermodel.core.atomic import replacing
from evermodel.core.errors import ModelFormatError
from evermodel.modeling.foreign.model import ForeignDescription, ForeignModel
from evermodel.pipelines.adopt.versions import ForeignVersion, ForeignVersions
from evermodel.spec.parts import Task
from evermodel.stats.metrics import Floats

if TYPE_CHECKING:
    import pyarrow as pa

PREDICTION, VERSION = "prediction", "model_version"  # columns of the log that is made here
_FIRST = np.datetime64("0001-01-01")


@dataclass(frozen=True)
class AdoptedRows:
    """The table of rows, in the order of time.

    Parameters
    ----------
    table
        Columns ``id``, ``time`` and ``label`` under their own names, and the features.
    features
        The model's inputs, in its order.
    label
        Column of the label; empty without one. Of a binary task it is 0 or 1.
    prediction, version
        Columns of what was answered and by which version, if the table has them.
    """

    table: pa.Table
    id: str
    time: str
    features: tuple[str, ...]
    label: str
    task: Task
    prediction: str = ""
    version: str = ""

    @property
    def times(self) -> NDArray[Any]:
        """The time of each row, UTC."""
        import pyarrow as pa

        return np.asarray(self.table[self.time].cast(pa.timestamp("us")).to_numpy())

    def labels(self, places: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of rows as the task takes them: 0 and 1, numbers, or names."""
        values = self.table[self.label].take(places).to_pandas().to_numpy()
        if self.task == "multiclass":
            return np.asarray([str(value) for value in values])
        return np.asarray(values, dtype=np.float64).astype(int if self.task == "binary" else float)


@dataclass(frozen=True)
class Served:
    """Which version answered which rows: those from its creation to that of the next one."""

    versions: ForeignVersions
    times: NDArray[Any]

    def of(self, version: ForeignVersion) -> NDArray[np.bool_]:
        """Return the rows that came while a version was the newest one, shipped or not."""
        chain = self.versions.versions
        place = chain.index(version)
        wanted: NDArray[np.bool_] = (self.times >= self._from(place)) & (self.times < self._until(place))
        return wanted

    def _from(self, place: int) -> Any:
        created = self.versions.versions[place].created
        return _FIRST if place == 0 or created is None else _moment(created)

    def _until(self, place: int) -> Any:
        following = self.versions.versions[place + 1 :]
        created = following[0].created if following else None
        return np.datetime64("9999-12-31") if created is None else _moment(created)

    def champion(self, version: ForeignVersion) -> ForeignVersion | None:
        """Return the version that served when another one was made; None for the first."""
        before = self.versions.versions[: self.versions.versions.index(version)]
        return next((one for one in reversed(before) if one.shipped), None)


class VersionScores:
    """Answers of versions to rows, each asked once; a version is asked for all rows that it is needed for at a time.

    Parameters
    ----------
    description
        Of the version that serves now: the others must take the same inputs.
    """

    def __init__(self, rows: AdoptedRows, versions: ForeignVersions, description: ForeignDescription) -> None:
        self.rows, self.description = rows, description
        self.served = Served(versions, rows.times)
        self.classes = _classes(rows, description)
        self._answers = {one.version: self._asked(one) for one in versions.versions}

    def of(self, version: ForeignVersion, places: NDArray[Any]) -> Floats:
        """Return a version's answers to the rows at some places: of two classes the probability of the positive one."""
        asked, answers = self._answers[version.version]
        found: Floats = answers[np.searchsorted(asked, places)]
        return found

    def log(self) -> pa.Table:
        """Return the rows with the answer of the version that was in service, and its name."""
        import pyarrow as pa

        chain = self.served.versions.versions
        answers = np.empty(self.rows.table.num_rows, dtype=object)
        names = np.empty(self.rows.table.num_rows, dtype=object)
        for version in chain:
            wanted = np.flatnonzero(self.served.of(version))
            shipped = version if version.shipped else self.served.champion(version) or version
            found = self.of(shipped, wanted)
            answers[wanted] = np.asarray(self.classes)[found.argmax(axis=1)] if found.ndim == 2 else found
            names[wanted] = shipped.version
        table = self.rows.table.append_column(PREDICTION, pa.array(answers.tolist()))
        return table.append_column(VERSION, pa.array(names.tolist(), pa.string()))

    def _asked(self, version: ForeignVersion) -> tuple[NDArray[Any], Floats]:
        needed = np.zeros(self.rows.table.num_rows, dtype=bool)
        for one in self.served.versions.versions:
            if version is one or self.served.champion(one) is version:
                needed |= self.served.of(one)
        places = np.flatnonzero(needed)
        if not len(places):
            return places, np.empty(0)
        asked = self.rows.table.select(list(self.rows.features)).take(places)
        return places, self._plain(version.model, version.model.answers(asked))

    def _plain(self, model: ForeignModel, answers: Floats) -> Floats:
        task, known = self.rows.task, [str(one) for one in self.description.classes]
        if task == "regression":
            return answers
        if task == "multiclass":
            if answers.ndim != 2 or answers.shape[1] != len(self.classes):
                raise ModelFormatError(
                    f"{model.told}: a model of {len(self.classes)} classes answers with shape {answers.shape}",
                    "adopt one that gives the probability of each class",
                )
            return answers
        scores = answers if answers.ndim == 1 else answers[:, 1]
        if answers.ndim == 2 and (answers.shape[1] != 2 or len(known) not in (0, 2)):
            raise ModelFormatError(
                f"{model.told}: {answers.shape[1]} classes, and labels of two", "check --target"
            )
        if len(scores) and not (np.isfinite(scores).all() and scores.min() >= 0 and scores.max() <= 1):
            raise ModelFormatError(
                f"{model.told}: its answers are no probabilities: {scores.min():.3g} to {scores.max():.3g}",
                "adopt a model that gives probabilities, such as one with predict_proba",
            )
        return scores


def write_log(scores: VersionScores, file: Path) -> None:
    """Write the rows with their answers to a Parquet file."""
    import pyarrow.parquet as pq

    with replacing(file) as temporary:
        pq.write_table(scores.log(), temporary)


def _classes(rows: AdoptedRows, description: ForeignDescription) -> tuple[str, ...]:
    if rows.task != "multiclass":
        return ()
    known = tuple(str(one) for one in description.classes)
    return known or tuple(
        sorted(str(one) for one in rows.table[rows.label].unique().to_pylist() if one is not None)
    )


def _moment(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.replace(tzinfo=None), "us")
