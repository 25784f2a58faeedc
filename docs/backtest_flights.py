"""Writes the flights' table into docs/backtest.md and README.md, and the plot: ``python docs/backtest_flights.py [work folder]``.

Runs the whole backtest unless its results are kept in the work folder.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from evermodel.pipelines.backtest.history import with_example_data
from evermodel.pipelines.backtest.plan import make_plan
from evermodel.pipelines.backtest.policies import DEFAULT_POLICIES
from evermodel.pipelines.backtest.run import run_backtest, write_report
from evermodel.pipelines.backtest.text import COST_HEAD, cost_rows, findings, result_head, result_rows
from evermodel.spec import load_spec

DOCS = Path(__file__).parent
README = DOCS.parent / "README.md"
SPEC = DOCS.parent / "include" / "models" / "flights.yaml"
MARKS = ("<!-- flights -->", "<!-- /flights -->")


def main(work: Path) -> None:
    """Run the backtest and replace what stands between the marks of both pages."""
    spec = with_example_data(load_spec(str(SPEC)), work / "data", print)
    # Shipping everything, too: what the gate costs, and what it saves.
    policies = [*DEFAULT_POLICIES, "weekly_ungated"]
    plan = make_plan(spec, (work / spec.name).absolute(), policies=policies)
    comparison = run_backtest(plan, os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as folder:
        files = write_report(comparison, Path(folder))
        shutil.copyfile(files.plot, DOCS / "images" / "backtest.png")
    days = f"{plan.start:%Y-%m-%d} to {plan.end:%Y-%m-%d}"
    told = (
        f"`evermodel backtest flights --policies {','.join(policies)}`, {days}, result `{comparison.digest}`:"
    )
    table = markdown(result_head(comparison), result_rows(comparison))
    replace(README, f"{told}\n\n{table}")
    said = "\n".join(f"- {sentence}" for sentence in findings(comparison))
    section = "\n\n".join(
        [
            told,
            table,
            said,
            "![The metric by week under each policy](images/backtest.png)",
            "What fitting cost, on one core of the machine that drew this page:",
            markdown(COST_HEAD, cost_rows(comparison)),
        ]
    )
    replace(DOCS / "backtest.md", section)


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def replace(page: Path, section: str) -> None:
    """Put a section between the marks of a page."""
    text = page.read_text(encoding="utf-8")
    between = re.compile(re.escape(MARKS[0]) + ".*" + re.escape(MARKS[1]), re.S)
    page.write_text(between.sub(lambda _: f"{MARKS[0]}\n{section}\n{MARKS[1]}", text), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".evermodel/backtest"))
