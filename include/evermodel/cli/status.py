"""The commands that show what is in production and where, and the retrains side by side."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, OptionalModel
from evermodel.registry.tracking import connect

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.pipelines.status import Place, Status
    from evermodel.registry.client import MlflowClient


def status(
    model: OptionalModel = None,
    as_json: AsJson = False,
) -> None:
    """Show which version is champion, the traffic shares, and which version serves where; of a watched model its last verdict."""
    from evermodel.core.settings import Settings
    from evermodel.pipelines.watch import watched_status
    from evermodel.spec import load_specs

    settings = Settings.from_environment()
    specs = load_specs(model, settings)[0]
    if model is None and not specs and not as_json:
        typer.echo(
            f"No model spec in {settings.models} can be used. Draft one: evermodel init TABLE --label COLUMN. "
            "Specs elsewhere? Set EVERMODEL_MODELS. A spec that should be there? evermodel check tells what is wrong."
        )
        return
    watched = [watched_status(spec, settings) for spec in specs if spec.watch is not None]
    names = [spec.name for spec in specs if spec.watch is None]
    if model is not None and not watched:
        names = [model]
    # Where every model is watched, there may be no MLflow.
    found, lineage = _in_registry(names, settings, model, as_json) if names or not watched else ([], [])
    if as_json:
        told = [*(one.to_json() for one in found), *(one.to_json() for one in watched)]
        output.print_json(told[0] if model is not None else told)
        return
    for one in found:
        _print(one, lineage, whole=model is not None)
    for line in (line for one in watched for line in one.lines()):
        typer.echo(line)


def _in_registry(
    names: list[str], settings: Settings, model: str | None, as_json: bool
) -> tuple[list[Status], list[str]]:
    """Read models from MLflow; of a single one also the lines about how it was made."""
    from evermodel.pipelines.status import status_of
    from evermodel.registry.registry import ModelRegistry
    from evermodel.registry.serving_reports import ServingReports

    with output.waiting("reading MLflow"):
        client = connect(settings.tracking_uri)
        if model is not None:
            ModelRegistry(client).read(model).require_champion()
        found = [status_of(client, name, ServingReports.of(settings)) for name in names]
        return found, [] if model is None or as_json else _lineage(found[0], client)


def _print(found: Status, lineage: list[str], *, whole: bool) -> None:
    from evermodel.pipelines.status import history_lines, lines_of

    first, *others = lines_of(found)
    past = history_lines(found.history)
    for line in (first, *lineage, *others, *(past if whole else past[:1])):
        typer.echo(line)
    if found.places:
        head = ("environment", "host", "#pid", "version", "share", "engine", "since", "seen", "")
        output.print_table("", head, map(_row, found.places))


def _lineage(found: Status, client: MlflowClient) -> list[str]:
    from evermodel.registry.lineage import Lineage

    if found.champion is None:
        return []
    made, lines = Lineage.from_version(client.get_model_version(found.model, found.champion)), []
    if made.metric_value is not None:
        lines.append(f"  {made.metric} {made.metric_value:.4f} at promotion")
    if made.fit_window is not None:
        lines.append(f"  trained on {made.fit_window.start:%Y-%m-%d} to {made.fit_window.end:%Y-%m-%d}")
    if made.snapshot:
        lines.append(f"  snapshot {made.snapshot} (DVC md5 {made.snapshot_md5})")
    return lines


def _row(place: Place) -> tuple[str, ...]:
    shares = ", ".join(f"{version}: {share:.3g}" for version, share in place.shares.items())
    behind = f"BEHIND: {place.behind}" if place.behind else ""
    return (
        place.environment,
        place.host,
        str(place.pid or ""),
        place.version or "none",
        shares or "all",
        place.engine,
        place.since[:19],
        place.seen[:19],
        behind,
    )


def runs(
    model: Model,
    last: Annotated[int, typer.Option(help="Number of retrains to show.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the retrains of a model side by side: parameters, metrics, verdicts, outcomes."""
    from evermodel.core.settings import Settings
    from evermodel.reports.retrain.runs import print_runs, retrain_lines

    with output.waiting("reading MLflow"):
        lines = retrain_lines(connect(Settings.from_environment().tracking_uri), model, last)
    if as_json:
        output.print_json([asdict(line) for line in lines])
    else:
        print_runs(model, lines)
