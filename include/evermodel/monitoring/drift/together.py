"""The features together: whole rows of the window and of the reference, before a classifier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.special import stdtrit

from evermodel.monitoring.drift.by_day import by_cluster
from evermodel.monitoring.drift.family import DriftTest
from evermodel.monitoring.drift.reference_and_current import ComparedRows, Joint
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.spec import ModelSpec
from evermodel.spec.parts import BY_DAY, BY_ROW
from evermodel.stats.classifier import ClassifierTest, classifier_test

SHARE = 1 / 9  # of the weight of all other tests: a tenth of the false-alarm rate
NAME = "all features"
KEY = f"together:{NAME}"
_NAMED = 4
_FEWEST, _MOST = 3, 12  # stretches


@dataclass(frozen=True)
class WholeRows:
    """The columns of both sides that are compared together.

    Parameters
    ----------
    before, now
        The reference and the window.
    """

    spec: ModelSpec
    before: ComparedRows
    now: ComparedRows

    @property
    def names(self) -> list[str]:
        """The watched columns with the common reference."""
        own = self.spec.drift.by_column
        return [name for name in self.spec.watched if not (name in own and own[name].reference)]

    def compare(self, cluster: str = "") -> ClassifierTest | None:
        """Tell both sides apart; rows of a cluster are all learnt from or all judged."""
        names, groups = self.names, None
        if cluster:
            sides = [side.grouped(names[0], cluster) for side in (self.before, self.now)]
            if sides[0] is None or sides[1] is None:
                return None
            groups = sides[0].groups, sides[1].groups
        return self._tell(self.before.joint(names), self.now.joint(names), groups)  # type: ignore[arg-type]

    def clustered(self) -> float | None:
        """Return the p-value by the spec's cluster; None where that is not known, or is the day: the rule counts days."""
        if self.spec.cluster in (BY_DAY, BY_ROW) or (test := self.compare(self.spec.cluster)) is None:
            return None
        scores = np.concatenate([test.scores[~test.window], test.scores[test.window]])
        return by_cluster(scores, test.groups[~test.window], test.groups[test.window])

    def normal(self, days: int) -> float:
        """Return the largest separation that is to be expected of a stretch of the reference against the rest of it.

        The prediction limit of Student's t for one more stretch, at half of the false-alarm rate.
        """
        parts = self.before.stretches_of_rows(self.names, days)
        some = parts[:: -(-len(parts) // _MOST) or 1]
        apart = [test.apart for rest, part in some if (test := self._tell(rest, part)) is not None]
        if len(apart) < _FEWEST:
            return 0.0
        count, quantile = len(apart), 1 - self.spec.drift.false_alarm_rate / 2
        usual = float(np.std(apart, ddof=1)) * np.sqrt(1 + 1 / count)
        return float(np.mean(apart) + stdtrit(count - 1, quantile) * usual)

    def _tell(self, before: Joint, now: Joint, groups: object = None) -> ClassifierTest | None:
        numeric = self.spec.features.numeric
        places = [place for place, name in enumerate(self.names) if name not in numeric]
        return classifier_test(before, now, places, groups=groups, seed=self.spec.seed)  # type: ignore[arg-type]


def together(
    spec: ModelSpec, before: ComparedRows, now: ComparedRows, words: str, days: int, others: float
) -> DriftTest | None:
    """Compare whole rows; None when a side has too few.

    Parameters
    ----------
    others
        Weight of all other tests.
    """
    rows = WholeRows(spec, before, now)
    known = all(side.keeps(rows.names) for side in (before, now))
    found = rows.compare() if known and len(rows.names) > 1 else None
    if found is None:
        return None
    band, sure = spec.drift.together, found.p_value <= spec.drift.false_alarm_rate
    drift = ColumnDrift(
        what="together",
        column=NAME,
        kind="numeric",
        measure="separation",
        effect=found.apart,
        low=max(0.0, found.apart - 1.96 * found.error),
        high=found.apart + 1.96 * found.error,
        threshold=band.warning,
        p_value=found.p_value,
        reference=words,
        summary=f"a classifier tells the rows apart, {found.apart:.2f} standard deviations apart{_by(rows.names, found) if sure else ''}",
    )
    rule = (
        partial(before.once, (NAME, days), partial(rows.normal, days)) if sure else None
    )  # what is not significant needs no limit
    return DriftTest(drift, band.critical, SHARE * others, rule=rule, clustered=rows.clustered)


def _by(names: Sequence[str], found: ClassifierTest) -> str:
    """Name the columns that the classifier uses most."""
    used = found.used
    order = [int(place) for place in np.argsort(-used, kind="stable") if used[place] >= 0.1 * used.max() > 0]
    return f", most by {', '.join(names[place] for place in order[:_NAMED])}" if order else ""
