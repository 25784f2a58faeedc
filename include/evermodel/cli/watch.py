"""The commands `evermodel watch …`: bring a model that is trained and served elsewhere under care."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, read_spec, time_of
from evermodel.core.atomic import write_text
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import SpecError

watch = typer.Typer(help="Monitor a model that is trained and served elsewhere.", no_args_is_help=True)


@watch.command()
def backfill(
    model: Model,
    first: Annotated[str, typer.Option("--from", help="End of the first window (ISO date or time).")],
    last: Annotated[str | None, typer.Option("--to", help="End of the last window. Default: now.")] = None,
    as_json: AsJson = False,
) -> None:
    """Evaluate the past of a watched model window by window; sends nothing, and can be interrupted."""
    from evermodel.pipelines import watch as pipeline

    spec, settings = read_spec(model)
    if spec.watch is None:
        raise SpecError(f"model {model} is not watched", "score and evaluate it with `evermodel backtest`")
    output.quiet_libraries()
    with output.step("backfill") as say:
        every = pipeline.backfill(spec, settings, time_of(first), time_of(last))
        found = [verdict for verdict in every if verdict is not None]
        say(f"{len(found)} windows")
    rows = [
        {
            "window_end": one.end,
            "version": one.version,
            "severity": one.severity,
            "reason": one.reason,
            "metric": one.performance.value,
        }
        for one in found
    ]
    bad = [f"{one.end[:16]}  {one.severity:8}  {one.reason}" for one in found if one.severity != "none"]
    head = f"{model}: {len(found)} windows evaluated, {len(bad)} with a problem"
    output.answer(as_json, rows, "\n".join([head, *bad]))


@watch.command("init")
def init_(
    place: Annotated[
        str, typer.Argument(help="Predictions: Parquet or CSV (path, glob or URL), or an engine's URL.")
    ],
    table: Annotated[str, typer.Option(help="Table in the engine.")] = "",
    name: Annotated[str | None, typer.Option(help="Name of the model.")] = None,
    prediction: Annotated[str | None, typer.Option(help="Column of the score or class.")] = None,
    label: Annotated[str | None, typer.Option(help="Column of the label, if it is in the table.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time.")] = None,
    identity: Annotated[str | None, typer.Option("--id", help="Column of the id.")] = None,
    version: Annotated[str | None, typer.Option(help="Column of the model's version.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: in the folder of specs.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: AsJson = False,
) -> None:
    """Draft the spec of a watched model from its log of predictions."""
    from evermodel.cli.scaffold.draft import model_name
    from evermodel.cli.scaffold.table import Origin
    from evermodel.cli.scaffold.watch import draft_watch
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec

    origin = Origin(place, table)
    model = name or (out.stem if out is not None else model_name(origin))
    named = {"prediction": prediction, "label": label, "time": time, "id": identity, "version": version}
    file = out or Settings.from_environment().models / f"{model}.yaml"
    if file.exists() and not force:
        raise SpecError(
            f"{file} already exists", "choose another name with --name, or overwrite it with --force"
        )
    with output.step("read the table") as say:
        text = draft_watch(origin, model, named)
        say(f"drafted {model}")
    write_text(file, text)
    spec = load_spec(file)
    assert spec.watch is not None
    features, reference = spec.features, spec.watch.reference
    found = {
        "file": file,
        "model": spec.name,
        "task": spec.task,
        "prediction": spec.watch.prediction,
        "version": spec.watch.version,
        "numeric": features.numeric,
        "categorical": features.categorical,
        "reference": [f"{moment:%Y-%m-%d}" for moment in (reference.start, reference.end)],
    }
    said = (
        f"{file}: {spec.task}, {len(features.numeric)} numbers and {len(features.categorical)} categories, "
        f"reference {reference.start:%Y-%m-%d} to {reference.end:%Y-%m-%d}\n"
        f"Review it, then: evermodel drift {spec.name} (or the DAG {dag_id('drift', spec.name)})"
    )
    output.answer(as_json, found, said)
