"""Checks that point at single rows: counted in one pass over the columns that look wrong, with a few examples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from evermodel.spec import ModelSpec
from evermodel.validation.profile import ColumnProfile, Profile
from evermodel.validation.report import Check
from evermodel.validation.scan import Scan, name, text
from evermodel.validation.schema import Bounds, TableSchema
from evermodel.validation.severities import Severities
from evermodel.validation.variants import split_variants, variants_of

_EXAMPLES = 3


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
    """

    kind: str
    column: str
    name: str
    broken: str
    suspect: bool
    shown: str
    severity: str


def row_rules(
    spec: ModelSpec,
    scan: Scan,
    profile: Profile,
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


def judge_rows(scan: Scan, rules: Sequence[RowRule], id_column: str) -> tuple[list[Check], int]:
    """Count the rows that break each rule.

    Returns
    -------
    The checks, in the order of the rules, and how many rows a quarantine would set aside.
    """
    suspects = [rule for rule in rules if rule.suspect]
    aside = [f"coalesce({rule.broken}, false)" for rule in suspects if rule.severity == "quarantine"]
    counts = [f"count(*) FILTER ({rule.broken})" for rule in suspects]
    counts.append(f"count(*) FILTER ({' OR '.join(aside)})" if aside else "0")
    *found, set_aside = scan.row(counts) if suspects else [0]
    broken = dict(zip(suspects, found, strict=True))
    checks = []
    for rule in rules:
        rows = int(broken.get(rule, 0))
        examples = _examples(scan, rule, id_column) if rows else ()
        checks.append(
            Check(
                rule.name,
                rows == 0,
                f"{rows} rows",
                "none",
                rule.severity,
                rule.kind,
                rule.column,
                rows,
                examples,
            )
        )
    return checks, int(set_aside)


def _examples(scan: Scan, rule: RowRule, id_column: str) -> tuple[str, ...]:
    key = name(id_column) if id_column in scan.types else "NULL"
    query = (
        f"SELECT {key}::VARCHAR, left(({rule.shown})::VARCHAR, 60) FROM {scan.source} "
        f"WHERE {rule.broken} LIMIT {_EXAMPLES}"
    )
    return tuple(f"{value!r} in row {row}" for row, value in scan.rows(query))


@dataclass(frozen=True)
class _Builder:
    spec: ModelSpec
    scan: Scan
    profile: Profile
    schema: TableSchema | None
    severities: Severities

    def numbers(self) -> Iterator[RowRule]:
        for column, profile in self._features(numeric=True):
            number = self.scan.number(column)
            yield self._rule(
                "infinite",
                column,
                f"infinite values in {column}",
                f"isinf({number})",
                profile.infinite > 0,
            )
            yield self._rule(
                "not_a_number",
                column,
                f"values of {column} that are no number",
                f"({name(column)} IS NOT NULL AND {number} IS NULL)",
                profile.not_numbers > 0,
            )

    def ranges(self) -> Iterator[RowRule]:
        for column, bounds in self._bounds().items():
            low, high = bounds
            number = self.scan.number(column)
            sides = [f"{number} < {low!r}"] * (low is not None) + [f"{number} > {high!r}"] * (
                high is not None
            )
            limits = f"{'-inf' if low is None else low} to {'inf' if high is None else high}"
            yield self._rule(
                "range",
                column,
                f"values of {column} outside {limits}",
                f"(NOT isnan({number}) AND ({' OR '.join(sides) or 'false'}))",
                self._outside(column, bounds),
            )

    def categories(self) -> Iterator[RowRule]:
        for column, profile in self._features(numeric=False):
            known = self._known(column)
            if known is None:
                variants = split_variants(profile.values)[1]
            else:
                variants = variants_of(profile.values, known)
            yield self._rule(
                "variant",
                column,
                f"values of {column} that are known ones written otherwise",
                f"{name(column)}::VARCHAR IN ({', '.join(map(text, variants)) or 'NULL'})",
                bool(variants),
            )
            if known is not None and self.severities.of("category", column) == "quarantine":
                listed = ", ".join(map(text, known)) or "NULL"
                yield self._rule(
                    "category",
                    column,
                    f"values of {column} that the schema does not know",
                    f"{name(column)}::VARCHAR NOT IN ({listed})",
                    not profile.listed or bool(set(profile.values) - set(known)),
                )

    def table(self, end: datetime | None) -> Iterator[RowRule]:
        identity, time = name(self.spec.id_column), name(self.spec.time_column)
        if end is not None and self.profile.newest:
            yield self._rule(
                "future",
                self.spec.time_column,
                "rows from after the window",
                f"{time} >= TIMESTAMPTZ {text(end.isoformat())}",
                datetime.fromisoformat(self.profile.newest) >= end,
            )
        if self.severities.of("duplicate_id", self.spec.id_column) == "quarantine":
            # Which of them is right, nobody can tell here.
            twice = f"SELECT {identity} FROM {self.scan.source} GROUP BY 1 HAVING count(*) > 1"
            yield self._rule(
                "duplicate_id",
                self.spec.id_column,
                f"rows that share their {self.spec.id_column}",
                f"({identity} IS NULL OR {identity} IN ({twice}))",
                self.profile.ids < self.profile.rows,
            )

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

    def _outside(self, column: str, bounds: Bounds) -> bool:
        profile, (low, high) = self.profile.columns[column], bounds
        if not profile.numeric or profile.infinite:
            return True
        if profile.low is None or profile.high is None:
            return False
        return (low is not None and profile.low < low) or (high is not None and profile.high > high)

    def _known(self, column: str) -> tuple[str, ...] | None:
        declared = None if self.schema is None else self.schema.columns.get(column)
        return None if declared is None else declared.categories

    def _rule(self, kind: str, column: str, title: str, broken: str, suspect: bool) -> RowRule:
        return RowRule(kind, column, title, broken, suspect, name(column), self.severities.of(kind, column))
