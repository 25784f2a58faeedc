"""The command `evermodel adopt`: bring a model that is in production already under care, without touching it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson
from evermodel.core.atomic import write_text
from evermodel.core.errors import SpecError

if TYPE_CHECKING:
    from evermodel.cli.scaffold.table import Origin
    from evermodel.core.settings import Settings
    from evermodel.modeling.foreign.model import OpeningRules
    from evermodel.pipelines.adopt.report import Adoption
    from evermodel.pipelines.adopt.scores import VersionScores
    from evermodel.pipelines.adopt.versions import ForeignVersions
    from evermodel.spec import ModelSpec


def adopt(
    model: Annotated[
        str,
        typer.Argument(
            help="models:/NAME@ALIAS or models:/NAME/VERSION in MLflow; a folder with an MLmodel; a file: pickle, joblib, "
            "skops, ONNX, LightGBM (.txt), XGBoost (.ubj, .json), CatBoost (.cbm); or the URL of an endpoint."
        ),
    ],
    data: Annotated[
        str, typer.Option(help="Table of rows: Parquet or CSV (path, glob or URL), or an engine's URL.")
    ],
    table: Annotated[str, typer.Option(help="Table in the engine.")] = "",
    target: Annotated[
        str | None, typer.Option(help="Column of the label. Without it only drift is judged.")
    ] = None,
    time: Annotated[str | None, typer.Option(help="Column of the time. Default: guessed.")] = None,
    identity: Annotated[
        str | None, typer.Option("--id", help="Column of the id. Default: guessed, or made.")
    ] = None,
    prediction: Annotated[
        str | None, typer.Option(help="Column of the served score or class. Default: the model is asked.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="Column of the version that answered.")] = None,
    delay: Annotated[str, typer.Option(help="Time until a label is known, such as 14d. Default: 1d.")] = "",
    features: Annotated[
        str,
        typer.Option(help="Inputs in the model's order, comma separated; for a model that knows no names."),
    ] = "",
    last: Annotated[str, typer.Option(help="How much of the past is judged.")] = "365d",
    versions: Annotated[int, typer.Option(min=1, help="How many of the newest versions are compared.")] = 12,
    name: Annotated[
        str | None, typer.Option(help="Name of the model. Default: that of MLflow or of the file.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Spec to write. Default: in the folder of specs.")] = None,
    work: Annotated[
        Path, typer.Option(help="Folder for report.html and the rows with their predictions.")
    ] = Path(".evermodel/adopt"),
    code: Annotated[
        list[Path] | None, typer.Option(help="Folder with modules that a pickle imports.")
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Open the model's file without a sandbox: it can do what you can.")
    ] = False,
    time_limit: Annotated[float, typer.Option(min=1, help="Seconds for one model's answers.")] = 300.0,
    memory: Annotated[
        float, typer.Option(min=0.5, help="Memory of the process that opens a model, in GB.")
    ] = 8.0,
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing spec.")] = False,
    as_json: AsJson = False,
) -> None:
    """Judge the past of a model that is in production already, and write the spec that watches it; nothing of it is changed."""
    from evermodel.cli.scaffold.adopt import read_rows
    from evermodel.cli.scaffold.table import Origin
    from evermodel.core.settings import Settings
    from evermodel.modeling.foreign.model import OpeningRules
    from evermodel.pipelines.adopt.decisions import decide
    from evermodel.pipelines.adopt.report import Adoption, page, past_problems
    from evermodel.pipelines.adopt.scores import VersionScores
    from evermodel.spec.parts import parse_span

    rules = OpeningRules(trust, tuple(code or ()), time_limit, int(memory * (1 << 30)))
    named = {"label": target, "time": time, "id": identity, "prediction": prediction, "version": version}
    settings = Settings.from_environment()
    with tempfile.TemporaryDirectory() as folder:
        with output.step("find the model") as say:
            found = _found(model, settings, Path(folder), rules, versions)
            say(f"{len(found.versions)} version(s), {found.serving.version} serves")
        wanted = _model_name(name or (out.stem if out else found.name))
        file = out or settings.models / f"{wanted}.yaml"
        if file.exists() and not force:
            raise SpecError(
                f"{file} already exists", "choose another name with --name, or overwrite it with --force"
            )
        place = (work / wanted).absolute()
        with output.step("open the model") as say:
            said = found.serving.model.describe()
            say(f"{said.kind}, {said.count or 'unknown'} inputs")
        with output.step("read the rows") as say:
            inputs = [one.strip() for one in features.split(",") if one.strip()]
            rows = read_rows(Origin(data, table), said, named, inputs, parse_span(last))
            say(f"{rows.table.num_rows:,} rows, {rows.task}")
        with output.step("ask the versions"):
            scores = VersionScores(rows, found, said)
        spec = _written(file, wanted, Origin(data, table), named, scores, place, delay, model)
        with output.step("decide as the gate"):
            decided = decide(spec, scores)
        with output.step("evaluate the windows") as say:
            windows, stretches = past_problems(spec, *(f"{rows.times[at]}"[:10] for at in (0, -1)))
            say(f"{windows} windows")
    adoption = Adoption(
        spec,
        found.serving.model.told if found.serving.model.is_endpoint else model,
        said,
        found,
        decided,
        windows,
        stretches,
    )
    report = place / "report.html"
    write_text(report, page(adoption))
    _tell(adoption, file, report, as_json)


def _written(
    file: Path,
    name: str,
    origin: Origin,
    named: dict[str, str | None],
    scores: VersionScores,
    place: Path,
    delay: str,
    model: str,
) -> ModelSpec:
    """Write the spec: of the table, if it has predictions, else of its rows with the predictions that the model gives."""
    from evermodel.cli.scaffold.table import Origin
    from evermodel.cli.scaffold.watch import draft_watch
    from evermodel.core.logins import without_login
    from evermodel.pipelines.adopt.scores import PREDICTION, VERSION, write_log
    from evermodel.spec import load_spec

    head = [f"Adopted from {without_login(model) if '://' in model else model}."]
    rows = scores.rows
    roles = {**named, "time": rows.time, "id": rows.id}
    if not rows.prediction:
        log = place / "predictions.parquet"
        write_log(scores, log)
        head.append(f"The predictions are what the model answers today to the rows of {origin.told}.")
        head.append("Set `source` to the log of what it really answers, and `drift` goes on with it.")
        origin, roles = Origin(str(log)), {**roles, "prediction": PREDICTION, "version": VERSION}
    text = draft_watch(origin, name, roles, inputs=rows.features, delay=delay, head=head)
    write_text(file, text)
    return load_spec(file)


def _found(model: str, settings: Settings, folder: Path, rules: OpeningRules, most: int) -> ForeignVersions:
    from evermodel.pipelines.adopt.versions import in_registry, single_version, versions_in_registry
    from evermodel.registry.tracking import connect

    if in_registry(model):
        return versions_in_registry(connect(settings.tracking_uri), model, folder, rules, most=most)
    return single_version(model, rules)


def _model_name(text: str) -> str:
    from evermodel.cli.scaffold.draft import model_name
    from evermodel.cli.scaffold.table import Origin

    return model_name(Origin(text.replace("/", "_").replace(".", "_")))


def _tell(adoption: Adoption, file: Path, report: Path, as_json: bool) -> None:
    if as_json:
        output.print_json({**adoption.to_json(), "spec": file, "report": report})
        return
    from evermodel.pipelines.adopt.report import HEAD, notes

    output.print_table(f"{adoption.spec.name}: what the gate would have decided", HEAD, adoption.rows())
    for sentence in adoption.findings():
        typer.echo(f"• {sentence}")
    for note in notes(adoption):
        typer.echo(f"  {note}")
    typer.echo(f"report {report}")
    typer.echo(f"spec   {file}: review it, then: evermodel check {adoption.spec.name}")
