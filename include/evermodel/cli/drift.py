"""The command that evaluates a window of the prediction log."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from evermodel.cli import output
from evermodel.cli.exit_codes import NO
from evermodel.cli.messages import send
from evermodel.cli.options import AsJson, AsOf, Model, read_spec, time_of
from evermodel.monitoring.drift.figures import number, performance_figure, tests_figure
from evermodel.monitoring.problems import RANK

if TYPE_CHECKING:
    from evermodel.alerts.incidents.handler import Handled
    from evermodel.monitoring.drift.verdict import DriftVerdict
    from evermodel.pipelines.drift import MonitoringRun

_MOST_COLUMNS = 12


def drift(
    model: Model,
    as_of: AsOf = None,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Draw Evidently's report.")] = True,
    tell: Annotated[
        bool,
        typer.Option("--tell/--no-tell", help="Update incidents and send their messages."),
    ] = True,
    fail_on: Annotated[
        Literal["never", "warning", "critical"], typer.Option(help="Severity from which the exit code is 3.")
    ] = "never",
    as_json: AsJson = False,
) -> None:
    """Evaluate drift, data quality, performance and serving for the window that ends on a day."""
    output.quiet_libraries()
    (spec, settings), moment = read_spec(model), time_of(as_of)
    with output.step("start") as say:
        from evermodel.pipelines.watch import monitoring_run
        from evermodel.registry.tracking import connect

        watch = monitoring_run(spec, moment, lambda: connect(settings.tracking_uri), settings)
        say(f"{spec.name}, {watch.window}")
    with output.step("verdict") as say:
        verdict = watch.judge()
        say(f"{verdict.window_rows:,} rows: {verdict.severity}")
    page = ""
    if report:
        with output.step("Evidently report") as say:
            watch.report()
            page = str(watch.page(settings.home / "reports" / spec.name / f"{watch.as_of:%Y-%m-%d}"))
            say(page)
    handled, recommendation = _handle(watch, verdict) if tell else ([], "")
    if tell:
        send(settings)
    if as_json:
        incidents = [asdict(done) for done in handled]
        output.print_json(
            {**verdict.to_json(), "incidents": incidents, "retrain": recommendation, "report": page}
        )
    else:
        _show(verdict, handled, recommendation)
    if fail_on != "never" and RANK[verdict.severity] >= RANK[fail_on]:
        raise typer.Exit(NO)


def _handle(watch: MonitoringRun, verdict: DriftVerdict) -> tuple[list[Handled], str]:
    """Send messages as the drift DAG does; a retrain that the policy requests is printed, not started."""
    from evermodel.pipelines.drift import incident_handler

    recommendation = watch.recommendation(verdict)
    watch.answer(recommendation.note)
    if watch.spec.watch is not None:
        advice = f"the policy requests a retrain from whoever trains {watch.spec.name}: {recommendation.note}"
        asked = "The policy requests a retrain; its asset event comes from the drift DAG."
    else:
        advice, asked = _commands(watch, recommendation.note)
    with tempfile.TemporaryDirectory() as folder:
        handled = incident_handler(watch, verdict, {}, asked).handle(verdict, watch.as_of, Path(folder))
    return handled, advice if recommendation.wanted else recommendation.note


def _commands(watch: MonitoringRun, reason: str) -> tuple[str, str]:
    """Return what to type for a retrain, for the terminal and for a message."""
    advice = (
        f"the policy requests a retrain: evermodel train {watch.spec.name} --as-of {watch.as_of:%Y-%m-%d} "
        f'--reason "{reason}"'
    )
    asked = (
        f"The policy requests a retrain: `evermodel train {watch.spec.name} --as-of {watch.as_of:%Y-%m-%d}`."
    )
    return advice, asked


def _show(verdict: DriftVerdict, handled: list[Handled], recommendation: str) -> None:
    typer.echo(
        f"{verdict.model}, version {verdict.version}, {verdict.start[:10]} to {verdict.end[:10]}: "
        f"{verdict.severity}. {verdict.reason}"
    )
    typer.echo(f"Performance: {performance_figure(verdict.performance)}")
    did = {done.kind: done.action for done in handled}
    output.print_table(
        f"{verdict.window_rows:,} rows against {verdict.reference_rows:,} ({verdict.reference})",
        ("kind", "severity", "incident", "why"),
        (
            (p.kind, p.severity if p.known else "unknown", did.get(p.kind, ""), p.reason)
            for p in verdict.problems
        ),
    )
    if verdict.drifting:
        output.print_table(
            f"{tests_figure(verdict)} show drift, the worst first",
            ("severity", "column", "what", "measure", "#effect", "#threshold", "summary"),
            (
                (c.severity, c.column, c.what, c.measure, number(c.effect), number(c.threshold), c.summary)
                for c in verdict.drifting[:_MOST_COLUMNS]
            ),
        )
    if recommendation:
        typer.echo(recommendation[0].upper() + recommendation[1:])
