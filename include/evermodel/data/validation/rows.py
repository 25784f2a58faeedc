"""Checks of single rows: counted in one pass over suspect columns, with a few examples."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from evermodel.data.validation.profile import (
    ColumnProfile,
    SnapshotProfile,
    spelling_change,
    split_variants,
    variants_of,
)
from evermodel.data.validation.report import CheckResult, Severities
from evermodel.data.validation.scan import Scan, name, text
from evermodel.data.validation.schema_file import Bounds, TableSchema
from evermodel.spec import ModelSpec

_EXAMPLES, _SHOWN, _FIRST_ROWS = 3, 20, 10_000


@dataclass(frozen=True)
class RowRule:
    """A check of single rows.

    Parameters
    ----------
    broken
        SQL that is true of a row that breaks it.
    suspect
        False if the profile shows already that no row does.
    shown
        SQL of the value that examples show.
    reason
        SQL of what is wrong with a row that breaks it.
    how
        What is wrong with most of these rows, where that can be told; follows their number.
    """

    kind: str
    column: str
    name: str
    broken: str
    suspect: bool
    shown: str
    severity: str
    reason: str
    how: str = ""


def row_rules(
    spec: ModelSpec,
    scan: Scan,
    profile: SnapshotProfile,
    schema: TableSchema | None,
    severities: Severities,
    end: datetime | None,
) -> list[RowRule]:
    """Return the rules for what is declared in the spec and in the schema.

    Parameters
    ----------
    end
        The moment that no row may be as late as.
    """
    builder = _Builder(spec, scan, profile, schema, severities)
    rules = [*builder.numbers(), *builder.ranges(), *builder.categories(), *builder.table(end)]
    return [rule for rule in rules if rule.severity != "off"]


def counts_of(rules: Sequence[RowRule]) -> list[str]:
    """Return the SQL aggregates that `judge_rows` needs: the rows of each suspect rule, and those to quarantine."""
    aside = any_broken(quarantining(rules))
    counts = [f"count(*) FILTER ({rule.broken})" for rule in rules if rule.suspect]
    return [*counts, f"count(*) FILTER ({aside})" if aside else "0"]


def quarantining(rules: Sequence[RowRule]) -> list[RowRule]:
    """Return the rules that may quarantine a row of this snapshot."""
    return [rule for rule in rules if rule.suspect and rule.severity == "quarantine"]


def any_broken(rules: Sequence[RowRule]) -> str:
    """Return the SQL that is true of a row that breaks one of the rules; empty without rules."""
    return " OR ".join(f"coalesce({rule.broken}, false)" for rule in rules)


def judge_rows(
    scan: Scan, rules: Sequence[RowRule], counts: Sequence[int], id_column: str
) -> tuple[list[CheckResult], int]:
    """Make the checks of rules whose rows are counted, with examples for the worst ones.

    Parameters
    ----------
    counts
        Values of what `counts_of` returned.

    Returns
    -------
    The checks, in the order of the rules, and the number of rows to quarantine.
    """
    *found, set_aside = counts
    broken = dict(zip((rule for rule in rules if rule.suspect), found, strict=True))
    worst = sorted((rule for rule in broken if broken[rule]), key=lambda rule: -broken[rule])[:_SHOWN]
    found_examples = _examples(scan, worst, id_column)
    checks = []
    for rule in rules:
        rows = broken.get(rule, 0)
        examples = found_examples.get(rule, ())
        how = f": {rule.how}" if rows and rule.how else ""
        told, where = f"{rows} rows{how}", (rule.severity, rule.kind, rule.column)
        checks.append(CheckResult(rule.name, rows == 0, told, "none", *where, rows, examples))
    return checks, set_aside


def _examples(scan: Scan, rules: Sequence[RowRule], id_column: str) -> dict[RowRule, tuple[str, ...]]:
    """Find a few examples for each rule: all at once among the first rows, and for rare ones in the whole snapshot."""
    if not rules:
        return {}
    identity = name(id_column) if id_column in scan.types else "NULL"
    columns = ", ".join(dict.fromkeys([identity, *(name(rule.column) for rule in rules)]))
    parts = [
        f"(SELECT {place}, {identity}::VARCHAR, left(({rule.shown})::VARCHAR, 60) FROM first_rows "
        f"WHERE {rule.broken} LIMIT {_EXAMPLES})"
        for place, rule in enumerate(rules)
    ]
    head = f"WITH first_rows AS MATERIALIZED (SELECT {columns} FROM {scan.source} LIMIT {_FIRST_ROWS})"
    told: dict[RowRule, list[str]] = {rule: [] for rule in rules}
    for place, row, value in scan.rows(f"{head} {' UNION ALL '.join(parts)}"):
        told[rules[place]].append(f"{value!r} in row {row}")
    for rule in (rule for rule in rules if not told[rule]):
        query = (
            f"SELECT {identity}::VARCHAR, left(({rule.shown})::VARCHAR, 60) FROM {scan.source} "
            f"WHERE {rule.broken} LIMIT {_EXAMPLES}"
        )
        told[rule] = [f"{value!r} in row {row}" for row, value in scan.rows(query)]
    return {rule: tuple(examples) for rule, examples in told.items()}


def _finite(profile: ColumnProfile) -> bool:
    """Tell whether the lowest and highest number say that there is no infinity, and hide nothing."""
    if not profile.numeric:
        return False
    if profile.low is None or profile.high is None:
        return True
    return math.isfinite(profile.low) and math.isfinite(profile.high)


@dataclass(frozen=True)
class _Builder:
    spec: ModelSpec
    scan: Scan
    profile: SnapshotProfile
    schema: TableSchema | None
    severities: Severities

    def numbers(self) -> Iterator[RowRule]:
        for column, profile in self._features(numeric=True):
            number = self.scan.number(column)
            title, broken = f"infinite values in {column}", f"isinf({number})"
            yield self._rule("infinite", column, title, broken, not _finite(profile))
            title = f"values of {column} that are not numbers"
            broken = f"({name(column)} IS NOT NULL AND {number} IS NULL)"
            yield self._rule("not_a_number", column, title, broken, profile.not_numbers > 0)

    def ranges(self) -> Iterator[RowRule]:
        for column, (low, high) in self._bounds().items():
            profile, number = self.profile.columns[column], self.scan.number(column)
            sides = []
            # What the lowest and highest number rule out already needs no look at the rows.
            if low is not None and not (_finite(profile) and (profile.low is None or profile.low >= low)):
                sides.append(f"{number} < {low!r}")
            if high is not None and not (_finite(profile) and (profile.high is None or profile.high <= high)):
                sides.append(f"({number} > {high!r} AND NOT isnan({number}))")
            limits = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            broken = f"({' OR '.join(sides) or 'false'})"
            yield self._rule("range", column, f"values of {column} outside {limits}", broken, bool(sides))

    def categories(self) -> Iterator[RowRule]:
        for column, profile in self._features(numeric=False):
            known = self._known(column)
            if known is None:
                variants = split_variants(profile.values)[1]
            else:
                variants = variants_of(profile.values, known)
            title = f"variants of known values of {column}"
            broken = f"{name(column)}::VARCHAR IN ({', '.join(map(text, variants)) or 'NULL'})"
            found = self._rule("variant", column, title, broken, bool(variants))
            yield replace(found, reason=_reasons(column, variants), how=_how(profile.values, variants))
            if known is not None and self.severities.of("category", column) == "quarantine":
                title = f"values of {column} missing from the schema file"
                broken = f"{name(column)}::VARCHAR NOT IN ({', '.join(map(text, known)) or 'NULL'})"
                suspect = not profile.listed or bool(set(profile.values) - set(known))
                yield self._rule("category", column, title, broken, suspect)

    def table(self, end: datetime | None) -> Iterator[RowRule]:
        identity, time = name(self.spec.id_column), name(self.spec.time_column)
        if end is not None and self.profile.newest:
            broken = f"{time} >= TIMESTAMPTZ {text(end.isoformat())}"
            suspect = datetime.fromisoformat(self.profile.newest) >= end
            yield self._rule("future", self.spec.time_column, "rows after the window", broken, suspect)
        column = self.spec.id_column
        if self.severities.of("duplicate_id", column) == "quarantine":
            # Which of them is right is unknown here.
            twice = f"SELECT {identity} FROM {self.scan.source} GROUP BY 1 HAVING count(*) > 1"
            broken = f"({identity} IS NULL OR {identity} IN ({twice}))"
            yield self._rule("duplicate_id", column, f"rows with a duplicate {column}", broken, True)

    def _features(self, *, numeric: bool) -> Iterator[tuple[str, ColumnProfile]]:
        names = self.spec.features.numeric if numeric else self.spec.features.categorical
        return ((c, self.profile.columns[c]) for c in names if c in self.profile.columns)

    def _bounds(self) -> dict[str, Bounds]:
        columns = {} if self.schema is None else self.schema.columns
        inferred: dict[str, Bounds] = {
            c: column.bounds for c, column in columns.items() if column.bounds != (None, None)
        }
        declared: dict[str, Bounds] = {**inferred, **self.spec.validation.ranges}
        return {c: bounds for c, bounds in declared.items() if c in self.profile.columns}

    def _known(self, column: str) -> tuple[str, ...] | None:
        declared = None if self.schema is None else self.schema.columns.get(column)
        return None if declared is None else declared.categories

    def _rule(self, kind: str, column: str, title: str, broken: str, suspect: bool) -> RowRule:
        severity = self.severities.of(kind, column)
        return RowRule(kind, column, title, broken, suspect, name(column), severity, text(title))


def _reasons(column: str, variants: Mapping[str, str]) -> str:
    """Return the SQL that says for each variant how it differs from the known value."""
    cases = [
        f"WHEN {text(value)} THEN {text(_reason(column, value, known))}" for value, known in variants.items()
    ]
    return f"CASE {name(column)}::VARCHAR {' '.join(cases)} END" if cases else "NULL"


def _reason(column: str, value: str, known: str) -> str:
    return f"values of {column} {spelling_change(value, known)}: {value!r} for {known!r}"


def _how(rows: Mapping[str, int], variants: Mapping[str, str]) -> str:
    """Tell the commonest way in which variants differ.

    >>> _how({"UA ": 40, "B6 ": 30, "ua": 2}, {"UA ": "UA", "B6 ": "B6", "ua": "UA"})
    'values end in blanks'
    """
    ways: Counter[str] = Counter()
    for value, known in variants.items():
        ways[spelling_change(value, known)] += rows[value]
    return f"values {ways.most_common(1)[0][0]}" if ways else ""
