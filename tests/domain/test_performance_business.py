from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from evermodel.core.errors import SpecError
from evermodel.monitoring.performance.business import business_metrics
from support.performance_log import drawn
from support.small_spec import small_spec


def _evaluate(expression: str, rows: int = 50) -> Any:
    spec = small_spec(performance={"business": {"worth": expression}})
    return business_metrics(spec, pa.table(drawn(rows, 1)))["worth"]


def test_an_expression_sees_predictions_and_labels() -> None:
    data = drawn(50, 1)
    expected = float((data["amount"] * data["label"])[data["score"] >= 0.5].sum())
    assert _evaluate("sum(amount * label) FILTER (score >= 0.5)") == pytest.approx(expected)
    assert _evaluate("avg(label)", rows=0) is None
    assert _evaluate("sum(1.0) / 0") is None


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("sum(amuont)", "did you mean amount?"),
        ("sum(amount", "cannot be evaluated: Parser Error"),
        ("amount", "it returns 50 values instead of one"),
        ("max(colour)", "returns 'red', which is not a number"),
        ("1); DROP TABLE joined; SELECT (1", "it is more than one statement"),
    ],
)
def test_a_broken_expression_is_named(expression: str, said: str) -> None:
    with pytest.raises(SpecError) as error:
        _evaluate(expression)
    assert "performance.business.worth" in str(error.value)
    assert said in str(error.value)
    assert error.value.advice.startswith("write ")


@pytest.mark.parametrize(
    "expression",
    [
        "(SELECT count(*) FROM read_csv('{file}'))",
        "(SELECT count(*) FROM '{file}')",
        "(SELECT count(*) FROM read_text('{file}'))",
        "(SELECT count(*) FROM glob('{folder}/*'))",
        "(SELECT count(*) FROM read_parquet('http://127.0.0.1:9/x.parquet'))",
        "(SELECT count(*) FROM secret)",
        "1) FROM joined; SET enable_external_access = true; SELECT (1",
        "1) FROM joined; COPY joined TO '{folder}/out.csv'; SELECT (1",
    ],
)
def test_an_expression_reaches_neither_files_nor_network_nor_this_process(
    expression: str, tmp_path: Path
) -> None:
    secret = pa.table({"token": ["x"]})
    (tmp_path / "data.csv").write_text("a\n1\n")
    with pytest.raises(SpecError):
        _evaluate(expression.format(file=tmp_path / "data.csv", folder=tmp_path))
    assert secret.num_rows == 1
    assert [file.name for file in tmp_path.iterdir()] == ["data.csv"]
