"""Check a snapshot before anything is trained on it: one pass in the engine, one list of checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evermodel.errors import ValidationError
from evermodel.spec import ModelSpec


@dataclass(frozen=True)
class Check:
    """One check with what was found and what is allowed."""

    name: str
    passed: bool
    found: str
    allowed: str


@dataclass(frozen=True)
class ValidationReport:
    """Every check of one snapshot, the passed ones too."""

    model: str
    rows: int
    checks: tuple[Check, ...]

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(check for check in self.checks if not check.passed)

    def to_json(self) -> dict[str, Any]:
        """Return plain data, ready for JSON."""
        return asdict(self)

    def require(self) -> None:
        """Raise `ValidationError` with every failed check, if any failed."""
        if self.failures:
            lines = "\n".join(f"  - {c.name}: found {c.found}, allowed {c.allowed}" for c in self.failures)
            raise ValidationError(
                f"model {self.model}: the snapshot failed {len(self.failures)} of {len(self.checks)} checks:\n{lines}",
                "mend the data or, if it is right, the spec's `validation` section; the champion stays as it is",
            )


def validate(spec: ModelSpec, file: Path) -> ValidationReport:
    """Check a snapshot against the spec's `validation` section.

    Parameters
    ----------
    file
        The snapshot, with the columns of `ModelSpec.columns`.
    """
    facts = _facts(spec, file)
    return ValidationReport(spec.name, facts["rows"], tuple(_checks(spec, facts)))


def _facts(spec: ModelSpec, file: Path) -> dict[str, Any]:
    import duckdb

    parts = {
        "rows": "count(*)",
        "ids": f"count(DISTINCT {_name(spec.id_column)})",
        "labels": f"count(DISTINCT {_name(spec.label.column)})",
        "rarest": _rarest(spec),
        "positives": f"count(*) FILTER ({_name(spec.label.column)}::VARCHAR = '1')",
    }
    for column in spec.features.names:
        parts[f"nulls {column}"] = f"count(*) FILTER ({_name(column)} IS NULL)"
    for column in spec.features.numeric:
        number = _number(column)
        # Not-a-number is how some exports write a missing value, and the model takes it for one.
        parts[f"nulls {column}"] = f"count(*) FILTER ({_name(column)} IS NULL OR isnan({number}))"
        parts[f"infinite {column}"] = f"count(*) FILTER (isinf({number}))"
        parts[f"text {column}"] = f"count(*) FILTER ({_name(column)} IS NOT NULL AND {number} IS NULL)"
    for column, (low, high) in spec.validation.ranges.items():
        number = _number(column)
        sides = [f"{number} < {low}"] * (low is not None) + [f"{number} > {high}"] * (high is not None)
        parts[f"outside {column}"] = (
            f"count(*) FILTER (NOT isnan({number}) AND ({' OR '.join(sides) or 'false'}))"
        )
    query = "SELECT " + ", ".join(f"{expression} AS {_name(alias)}" for alias, expression in parts.items())
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    try:
        row = connection.execute(f"{query} FROM read_parquet(?)", [str(file)]).fetchone()
    finally:
        connection.close()
    return dict(zip(parts, row, strict=True))


def _checks(spec: ModelSpec, facts: dict[str, Any]) -> Iterator[Check]:
    rules, rows = spec.validation, facts["rows"]
    yield Check("row count", rows >= rules.min_rows, str(rows), f"at least {rules.min_rows}")
    if rows == 0:
        return
    duplicates = 1 - facts["ids"] / rows
    yield _share(f"duplicate {spec.id_column}", duplicates, rules.max_duplicate_share)
    yield _label_check(spec, facts)
    for column in spec.features.names:
        limit = rules.max_null_share_by_column.get(column, rules.max_null_share)
        yield _share(f"nulls in {column}", facts[f"nulls {column}"] / rows, limit)
    for column in spec.features.numeric:
        yield _none_of(f"infinite values in {column}", facts[f"infinite {column}"])
        yield _none_of(f"values of {column} that are no number", facts[f"text {column}"])
    for column, (low, high) in rules.ranges.items():
        bounds = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
        yield _none_of(f"values of {column} outside {bounds}", facts[f"outside {column}"])


def _rarest(spec: ModelSpec) -> str:
    """Return the SQL that counts the rows of the rarest class."""
    if spec.task == "regression":
        return "NULL"
    label = _name(spec.label.column)
    return f"list_min(map_values(histogram({label}::VARCHAR)))"


def _label_check(spec: ModelSpec, facts: dict[str, Any]) -> Check:
    label, labels, rarest = spec.label.column, facts["labels"], facts["rarest"]
    if spec.task == "regression":
        return Check(f"values of {label}", labels > 1, f"{labels} different ones", "more than one")
    least, rows = spec.validation.min_class_share, facts["rows"]
    fine = labels > 1 and rarest / rows >= least
    if spec.task == "binary":
        positives = facts["positives"]
        found = f"{positives} positive and {rows - positives} negative rows"
        return Check(f"both classes of {label}", fine, found, f"at least {least:.1%} of each")
    found = f"{labels} classes, the rarest with {rarest} of {rows} rows"
    return Check(f"classes of {label}", fine, found, f"at least 2, each with {least:.1%} of the rows")


def _share(name: str, share: float, limit: float) -> Check:
    return Check(name, share <= limit, f"{share:.2%}", f"at most {limit:.2%}")


def _none_of(name: str, count: int) -> Check:
    return Check(name, count == 0, f"{count} rows", "none")


def _number(column: str) -> str:
    return f"TRY_CAST({_name(column)} AS DOUBLE)"


def _name(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'
