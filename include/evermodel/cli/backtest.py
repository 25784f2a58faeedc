"""The command `evermodel backtest`: a model's own history under retrain policies."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model

if TYPE_CHECKING:
    from evermodel.pipelines.backtest.compare import PolicyComparison
    from evermodel.pipelines.backtest.plan import Plan
    from evermodel.pipelines.backtest.run import Files, Tell

_WIDE = 150
_WHOLE = 4  # columns that are not broken into lines: name and intervals


def backtest(
    model: Model,
    start: Annotated[
        str | None,
        typer.Option(help="Day of the first champion (ISO, UTC). Default: the first possible one."),
    ] = None,
    end: Annotated[
        str | None, typer.Option(help="Day after the last. Default: up to the last day with matured labels.")
    ] = None,
    policies: Annotated[
        str,
        typer.Option(
            help="Comma separated: never, weekly, monthly, on_drift, on_decay, as_declared, weekly_ungated. "
            "Default: all but the last."
        ),
    ] = "",
    step: Annotated[
        str, typer.Option(help="Time between two verdicts: 7d, 1d as in production, or up to 92d.")
    ] = "7d",
    known: Annotated[
        str | None,
        typer.Option(
            help="Column with the time at which a row, or a version of it, was known.", metavar="COLUMN"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html, backtest.json and backtest.png.")
    ] = None,
    work: Annotated[
        Path, typer.Option(help="Folder of the cache; an interrupted backtest continues from it.")
    ] = Path(".evermodel/backtest"),
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Policies replayed in parallel; the number does not change the result. Default: all cores.",
        ),
    ] = None,
    interim: Annotated[
        bool,
        typer.Option("--interim", help="Print the table of the weeks replayed so far, and replay nothing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Replay a model's history under retrain policies, and report when retraining pays and when it hurts."""
    from evermodel.pipelines.backtest.history import with_example_data
    from evermodel.pipelines.backtest.plan import make_plan
    from evermodel.pipelines.backtest.run import interim_comparison, run_backtest, write_report
    from evermodel.spec import load_spec
    from evermodel.spec.parts import parse_span

    output.quiet_libraries()
    spec = with_example_data(load_spec(model), work / "data", _say)
    names = [name.strip() for name in policies.split(",") if name.strip()]
    folder = (work / spec.name).absolute()
    span = parse_span(step)
    with output.step("read the history") as say:
        plan = make_plan(spec, folder, start=start, end=end, step=span, policies=names, known=known)
        say(f"{len(plan.weeks)} weeks")
    if interim:
        _tell_interim(interim_comparison(plan), as_json)
        return
    try:
        with _progress(plan) as tell:
            comparison = run_backtest(plan, jobs or os.cpu_count() or 1, tell)
    except KeyboardInterrupt:
        _tell_interim(interim_comparison(plan), as_json)
        raise
    with output.step("write the report"):
        files = write_report(comparison, out or folder / "report")
    if as_json:
        output.print_json({"digest": comparison.digest, **comparison.to_json()})
    else:
        _show(comparison, files)


def _tell_interim(comparison: PolicyComparison | None, as_json: bool) -> None:
    """Print a comparison of the weeks replayed so far; on Ctrl-C, too."""
    if comparison is None:
        _say("no week of every policy has been replayed yet")
    elif as_json:
        output.print_json(comparison.to_json())
    else:
        _show(comparison, None)


def _say(text: str) -> None:
    typer.echo(text, err=True)


@contextmanager
def _progress(plan: Plan) -> Iterator[Tell]:
    """Show on stderr how far each policy is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    console.print(
        f"{plan.spec.name}: {plan.start:%Y-%m-%d} to {plan.end:%Y-%m-%d}, {len(plan.weeks)} weeks, cached in {plan.work}",
        soft_wrap=True,
        highlight=False,
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        tasks = {p.name: bars.add_task(p.name, total=len(plan.steps)) for p in plan.policies}

        def tell(steps: Mapping[str, tuple[int, int]]) -> None:
            for name, (done, total) in steps.items():
                if done == total and not bars.tasks[tasks[name]].finished and not console.is_terminal:
                    console.print(f"✓ {name}")
                bars.update(tasks[name], completed=done, total=total)

        yield tell


def _show(comparison: PolicyComparison, files: Files | None) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from evermodel.pipelines.backtest.text import (
        COST_HEAD,
        cost_rows,
        findings,
        notes,
        result_head,
        result_rows,
    )

    console = Console(width=None if sys.stdout.isatty() else _WIDE, highlight=False)
    facts = comparison.facts
    title = f"{facts['model']}: {facts['metric']} by week, {facts['start']} to {facts['end']}"
    for head, rows, name in (
        (result_head(comparison), result_rows(comparison), title),
        (
            list(COST_HEAD),
            cost_rows(comparison),
            "Cost (for cached fits: when they were computed)",
        ),
    ):
        table = Table(title=name, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        for place, column in enumerate(head):
            table.add_column(column, no_wrap=place < _WHOLE)
        for row in rows:
            table.add_row(*row)
        console.print(table)
    for sentence in findings(comparison):
        console.print(f"• {sentence}")
    console.print()
    for note in notes(comparison):
        console.print(f"[dim]{note}[/dim]")
    if files is None:
        console.print("\ninterim: the same command continues the replay")
        return
    console.print(f"\nresult {comparison.digest}")
    console.print(f"report {files.page}", soft_wrap=True)
