"""The command that checks everything that evermodel depends on."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from evermodel.cli import output
from evermodel.cli.exit_codes import FAILED
from evermodel.cli.options import AsJson
from evermodel.core.errors import EvermodelError

if TYPE_CHECKING:
    from evermodel.core.diagnostics import Finding

_MARKS = {"green": ("✓", "green"), "yellow": ("!", "yellow"), "red": ("✗", "red")}


def doctor(
    only: Annotated[
        list[str] | None, typer.Option(help="Check to run, repeatable: MLflow, Airflow, Slack, lake, …")
    ] = None,
    timeout: Annotated[
        float, typer.Option(help="Time limit of all checks together, in seconds.", min=1)
    ] = 30,
    as_json: AsJson = False,
) -> None:
    """Check versions, specs, lake, DVC, MLflow, Airflow, Slack, serving and the clock; exit 1 if one is red."""
    from evermodel.cli.diagnostics.examine import all_checks, examine, load_checks
    from evermodel.core.settings import Settings

    output.quiet_libraries()
    entries = all_checks()
    wanted = {name.lower() for name in only or entries}
    chosen = [entry for name, entry in entries.items() if name.lower() in wanted]
    if len(chosen) < len(wanted):
        unknown = ", ".join(sorted(wanted - {entry.name.lower() for entry in chosen}))
        raise EvermodelError(f"unknown check {unknown}", f"use: {', '.join(entries)}")
    found: list[Finding] = []
    answer = sys.stdout
    with redirect_stdout(sys.stderr):  # output of libraries
        with output.waiting("loading the checks"):
            checks = load_checks(chosen)
        examined = examine(Settings.from_environment(), checks, timeout)
        for entry in chosen:
            with output.waiting(f"checking {entry.name}"):
                _, findings = next(examined)
            found += findings
            for finding in [] if as_json else findings:
                _show(finding, answer)
    red = any(finding.level == "red" for finding in found)
    if as_json:
        output.print_json({"ok": not red, "checks": [finding.to_json() for finding in found]})
    raise typer.Exit(FAILED if red else 0)


def _show(finding: Finding, answer: TextIO) -> None:
    mark, colour = _MARKS[finding.level]
    typer.echo(f"{typer.style(mark, fg=colour)} {finding.name:<18} {finding.said}", answer)
    if finding.level != "green":
        typer.echo(f"  {'':<18} What to do: {finding.advice}", answer)
