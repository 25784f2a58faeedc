"""The checks of a snapshot: what each found, its severity, and the report of all."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from evermodel.core.errors import ValidationError
from evermodel.spec import ModelSpec

Verdict = Literal["passed", "warned", "quarantined", "failed"]
_LINES = 8
_ADVICE = (
    "fix the data or, if it is right, the spec's `validation` section or the schema file; the champion stays"
)


@dataclass(frozen=True)
class CheckResult:
    """One check with what was found and what is allowed.

    Parameters
    ----------
    severity
        What happens when it does not pass: ``warn``, ``quarantine`` or ``fail``.
    kind, column
        What `validation.severity` in the spec calls it.
    rows
        Rows that break it, where it is about rows.
    """

    name: str
    passed: bool
    found: str
    allowed: str
    severity: str = "fail"
    kind: str = ""
    column: str = ""
    rows: int = 0
    examples: tuple[str, ...] = ()

    def line(self) -> str:
        """Return the check in one sentence, for messages."""
        such_as = f" (such as {'; '.join(self.examples[:3])})" if self.examples else ""
        return f"{self.name}: found {self.found}, allowed {self.allowed}{such_as}"


@dataclass(frozen=True)
class ValidationReport:
    """Every check of one snapshot.

    Parameters
    ----------
    rows
        Rows of the snapshot as it was extracted.
    set_aside
        Rows that break a check of severity ``quarantine``.
    schema
        The schema file that was enforced; empty if there was none.
    against
        The last good run that it was compared with; empty if there was none.
    """

    model: str
    rows: int
    checks: tuple[CheckResult, ...]
    set_aside: int = 0
    schema: str = ""
    against: str = ""

    @property
    def failures(self) -> tuple[CheckResult, ...]:
        """The checks that stop the run."""
        return self._broken("fail")

    @property
    def warnings(self) -> tuple[CheckResult, ...]:
        """The checks that people should look at."""
        return self._broken("warn")

    @property
    def quarantines(self) -> tuple[CheckResult, ...]:
        """The checks that set rows aside."""
        return self._broken("quarantine")

    @property
    def verdict(self) -> Verdict:
        """The overall result of the checks."""
        if self.failures:
            return "failed"
        if self.set_aside:
            return "quarantined"
        return "warned" if self.warnings else "passed"

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return {"verdict": self.verdict, **asdict(self)}

    def require(self, page: str = "") -> None:
        """Raise `ValidationError` with every failed fatal check and examples."""
        if not self.failures:
            return
        told = [f"  - {check.line()}" for check in self.failures[:_LINES]]
        more = len(self.failures) - len(told)
        if more:
            told.append(f"  - and {more} more")
        lines = "\n".join(told)
        advice = f"{_ADVICE}; the whole report: {page}" if page else _ADVICE
        if self.set_aside:
            advice = f"{advice}; bad rows: `evermodel data quarantined {self.model}`"
        error = ValidationError(
            f"model {self.model}: the snapshot failed {len(self.failures)} of {len(self.checks)} checks:\n{lines}",
            advice,
        )
        error.failed = len(self.failures)
        raise error

    def _broken(self, severity: str) -> tuple[CheckResult, ...]:
        return tuple(check for check in self.checks if not check.passed and check.severity == severity)


DEFAULTS = {
    "missing_column": "fail",
    "type": "fail",
    "rows": "fail",
    "duplicate_id": "fail",
    "label": "fail",
    "null_share": "fail",
    "infinite": "quarantine",
    "not_a_number": "quarantine",
    "range": "quarantine",
    "category": "warn",
    "category_share": "fail",
    "variant": "quarantine",
    "freshness": "fail",
    "future": "quarantine",
    "constant": "warn",
    "leakage": "warn",
    "id_like": "warn",
    "schema": "warn",
    "row_change": "fail",
    "null_jump": "fail",
    "vanished_category": "warn",
    "mean_shift": "warn",
    "point_in_time": "fail",
}


@dataclass(frozen=True)
class Severities:
    """Severity by kind, and by kind and column."""

    declared: dict[str, str]

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> Severities:
        """Take what a spec declares."""
        return cls(dict(spec.validation.severity))

    def of(self, kind: str, column: str = "") -> str:
        """Return the severity of one check; a setting for the column takes precedence."""
        return self.declared.get(f"{kind}.{column}") or self.declared.get(kind) or DEFAULTS[kind]

    def check(
        self,
        kind: str,
        title: str,
        passed: bool,
        found: str,
        allowed: str,
        column: str = "",
        rows: int = 0,
        examples: tuple[str, ...] = (),
    ) -> CheckResult:
        """Return a check with the severity of its kind and column."""
        severity = self.of(kind, column)
        return CheckResult(title, passed, found, allowed, severity, kind, column, rows, examples)
