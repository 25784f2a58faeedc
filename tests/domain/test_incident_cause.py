"""The likely cause of a problem: each pattern of what moved together has its own words."""

from __future__ import annotations

import pytest

from evermodel.alerts.incidents.cause import likely_cause
from evermodel.monitoring.drift.verdict import ColumnDrift
from evermodel.monitoring.problems import Problem
from support.verdicts import a_column, a_problem, a_verdict, bad_data

NAMES = ["amount", "age", "colour", "city", "income"]
CALM = [a_column(column=name, severity="none") for name in NAMES]


def moved(*columns: str, what: str = "feature") -> list[ColumnDrift]:
    return [a_column(column=column, what=what) for column in columns]


def cause(*columns: ColumnDrift, kind: str = "drift", since: str = "", **changes: object) -> str:
    names = {(column.column, column.what) for column in columns}
    rest = [column for column in CALM if (column.column, column.what) not in names]
    return likely_cause(a_verdict(columns=(*columns, *rest), **changes), kind, since)


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        (moved("age"), "only age drifted: check its source"),
        (moved("age", "city"), "age, city drifted and 3 other columns did not: check what they have in common"),
        (moved(*NAMES), "5 of 5 columns drifted together since 2013-08-06: a source, a join or the population changed"),
        (moved("age", what="missing"), "age lacks values: check its source"),
        (
            moved("age", "city", what="missing") + moved("age"),
            "age, city lack values together: one source or join is incomplete",
        ),
        (
            moved("colour", what="category") + moved("colour"),
            "values in colour that training lacks: a new or renamed category",
        ),
        (moved("score", what="prediction"), "the predictions drifted without any input: check the serving version and interactions of inputs"),
        (moved("late", what="concept"), "no input drifted, but the relation between features and label changed"),
        (moved("late", what="label"), "the label's distribution changed"),
        (moved("age ~ city", what="correlation"), "correlations between columns changed"),
        (moved("all features", what="together"), "rows changed as a whole, in no column by itself"),
        ([], ""),
    ],
)  # fmt: skip
def test_of_drift(columns: list[ColumnDrift], expected: str) -> None:
    assert cause(*columns, since="2013-08-06T00:00:00+00:00") == expected


def test_columns_of_one_source_are_told_by_the_beginning_of_their_names() -> None:
    said = cause(*moved("weather_temp", "weather_rain"))
    assert said == "all 2 drifted columns begin with weather_: check their source"


def test_a_cause_that_the_problem_names_itself_comes_first() -> None:
    problem = a_problem(cause="one slice: origin = EWR")
    assert cause(*moved("age"), problems=(problem,)) == "one slice: origin = EWR"


def test_of_bad_data() -> None:
    problems = (
        bad_data("temp: 100% missing, at most 50% allowed", "humid: 60% missing, at most 50% allowed"),
    )
    assert cause(kind="quality", problems=problems).startswith("temp, humid lack values together")
    assert cause(kind="quality", problems=(bad_data("hour: 3 values outside 0 to 23"),)) == ""


def test_of_poor_performance() -> None:
    problems = (Problem("performance", "warning", "roc_auc fell"),)
    assert cause(*moved("age"), kind="performance", problems=problems) == "the inputs drifted too: age"
    assert cause(kind="performance", problems=problems).startswith("no input drifted")
    assert cause(kind="performance", problems=(*problems, bad_data("x: 90% missing"))) == (
        "the window has data quality problems"
    )


@pytest.mark.parametrize("kind", ["drift", "quality", "serving"])
def test_without_a_problem_there_is_no_cause(kind: str) -> None:
    assert cause(*moved("age"), kind=kind, problems=(a_problem(severity="none"),)) == ""
