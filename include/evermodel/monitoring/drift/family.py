"""The tests of one day: what each measured, and their evaluation as one family with a common false-alarm rate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.monitoring.problems import RANK, Severity
from evermodel.spec.drift import ColumnKind, DriftKind


@dataclass(frozen=True)
class DriftTest:
    """One test before the family is evaluated.

    Parameters
    ----------
    drift
        What was found, without a severity; its threshold is the effect from which there is a warning.
    critical
        The effect from which it is critical.
    weight
        Its part of the family's false-alarm rate; many tests of one kind may share that of a few.
    decided
        The severity when it does not come from p-value and effect: that of Evidently's methods, or none if there was
        too little data. Such a test takes no part of the rate.
    rule
        Finds the largest effect between stretches of the reference itself; costs time, so it is called only if needed.
        None where the threshold does not depend on the model's history.
    clustered
        Finds the p-value by day, and by cluster, which holds before there is a history; None where it is not known.
    significance
        Finds the p-value of a test that was measured without one.
    """

    drift: ColumnDrift
    critical: float
    weight: float = 1.0
    decided: Severity | None = None
    rule: Callable[[], float] | None = None
    clustered: Callable[[], float | None] | None = None
    significance: Callable[[], float] | None = None

    @property
    def key(self) -> str:
        """Name of the test, the same from day to day."""
        return f"{self.drift.what}:{self.drift.column}"

    @property
    def power(self) -> float:
        """Exponent that makes the effect all but normal: PSI grows with the square of a shift, a share with the shift, a separation is normal."""
        return {"PSI": 0.25, "separation": 1.0}.get(self.drift.measure, 0.5)


def refused(column: str, kind: ColumnKind, what: DriftKind, words: str, why: str) -> DriftTest:
    """Return the finding that a column cannot be evaluated, with the reason."""
    drift = ColumnDrift(
        column=column,
        kind=kind,
        what=what,
        measure="PSI",
        effect=0.0,
        low=0.0,
        high=0.0,
        threshold=1.0,
        p_value=1.0,
        reference=words,
        summary=f"not evaluated: {why}",
    )
    return DriftTest(drift, critical=1.0, decided="none")


def judge_family(findings: Iterable[DriftTest], rate: float) -> tuple[ColumnDrift, ...]:
    """Give every test its severity, worst first; that of whole rows after those that name a column.

    A test is a warning when it is significant and its effect is at least its threshold, critical from the critical
    one on. Significance is Holm's procedure with weights: the chance that *any* test of a day on which nothing has
    changed is significant is at most ``rate``, however the tests depend on each other (Holm: A simple sequentially
    rejective multiple test procedure, Scandinavian Journal of Statistics 6, 1979).
    """
    family = list(findings)
    tested = [finding for finding in family if finding.decided is None]
    significant = _holm([(f.drift.p_value, f.weight) for f in tested], rate)
    judged = [replace(f.drift, severity=f.decided) for f in family if f.decided is not None]
    judged += [
        replace(f.drift, severity=_severity(f) if sure else "none")
        for f, sure in zip(tested, significant, strict=True)
    ]
    return tuple(
        sorted(
            judged,
            key=lambda c: (
                -RANK[c.severity],
                c.what == "together",
                -c.effect / c.threshold,
                c.what,
                c.column,
            ),
        )
    )


def _severity(finding: DriftTest) -> Severity:
    if finding.drift.effect >= finding.critical:
        return "critical"
    return "warning" if finding.drift.effect >= finding.drift.threshold else "none"


def _holm(tests: Sequence[tuple[float, float]], rate: float) -> list[bool]:
    """Return which of some tests, each a p-value and its weight, are significant together."""
    rejected = [False] * len(tests)
    left = sum(weight for _, weight in tests)
    for place in sorted(range(len(tests)), key=lambda i: tests[i][0] / tests[i][1]):
        p_value, weight = tests[place]
        if p_value > rate * weight / left:
            break
        rejected[place] = True
        left -= weight
        if left <= 0:
            break
    return rejected
