"""The command line: what a person can do without opening Airflow."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from evermodel import __version__
from evermodel.data_command import data
from evermodel.errors import EvermodelError
from evermodel.init.command import init

app = typer.Typer(
    name="evermodel",
    help="Keep tabular models in production fresh, proven and reversible.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.command()(init)
app.add_typer(data, name="data")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")
    ] = False,
) -> None:
    """Read the options that every command shares."""


@app.command()
def schema(
    out: Annotated[Path | None, typer.Option(help="File to write; the screen if not given.")] = None,
) -> None:
    """Print the JSON Schema of model specs, for editors."""
    from evermodel.atomic import write_text
    from evermodel.spec.schema import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


@app.command()
def check(
    specs: Annotated[
        list[str] | None, typer.Argument(help="Models or YAML files; all if none is given.")
    ] = None,
) -> None:
    """Check model specs; every mistake is named with its line."""
    from evermodel.errors import SpecError
    from evermodel.settings import Settings
    from evermodel.spec import load_spec
    from evermodel.spec.load import spec_files
    from evermodel.validation.schema_file import find_schema, read_schema

    settings = Settings.from_environment()
    folder = settings.models
    names = specs or [str(path) for path in spec_files(folder)]
    if not names:
        raise EvermodelError(f"there is no spec in {folder}", "set EVERMODEL_MODELS, or name a file")
    broken = 0
    for name in names:
        try:
            spec = load_spec(name)
            if (expected := find_schema(spec.name, settings)) is not None:
                read_schema(expected)
        except SpecError as error:
            broken += 1
            typer.echo(f"✗ {error}", err=True)
        else:
            typer.echo(f"✓ {name}: model {spec.name}, digest {spec.digest}")
    if broken:
        raise typer.Exit(1)


@app.command()
def serve(
    models: Annotated[list[str], typer.Argument(help="Models to answer for.")],
    host: Annotated[str, typer.Option(help="Interface to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8000,
    poll_seconds: Annotated[float, typer.Option(help="Seconds between two looks at the registry.")] = 2.0,
) -> None:
    """Serve the champions over HTTP, and follow every promotion without a restart."""
    from evermodel.serving.run import serve as run

    run(models, host=host, port=port, poll_seconds=poll_seconds)


@app.command()
def status(
    model: Annotated[str, typer.Argument(help="Model to tell about.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell which version of a model is champion, since when, and what was before."""
    from dataclasses import asdict

    from evermodel import registry
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    client = connect(Settings.from_environment().tracking_uri)
    version = registry.champion(client, model)
    past = registry.history(client, model)
    if as_json:
        typer.echo(json.dumps({"champion": version.version, "history": [asdict(p) for p in past]}, indent=2))
        return
    tags = version.tags
    typer.echo(f"{model}: version {version.version} is champion")
    typer.echo(f"  {tags.get('evermodel.metric')} {float(tags['evermodel.metric_value']):.4f} at promotion")
    typer.echo(f"  trained on {tags['evermodel.train_start'][:10]} to {tags['evermodel.train_end'][:10]}")
    typer.echo(f"  snapshot {tags['evermodel.snapshot']} (DVC md5 {tags['evermodel.snapshot_md5']})")
    for promotion in reversed(past):
        before = f"after {promotion.previous}" if promotion.previous else "first"
        typer.echo(
            f"  {promotion.at}  version {promotion.version} ({before}) by {promotion.by}: {promotion.reason}"
        )


@app.command()
def rollback(
    model: Annotated[str, typer.Argument(help="Model.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the registry's history.")],
    to: Annotated[str | None, typer.Option(help="Version; the last one that served if not given.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Make an earlier champion the champion again; serving processes follow within seconds."""
    import getpass
    import uuid
    from dataclasses import asdict

    from evermodel.rollback import roll_back
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    client = connect(Settings.from_environment().tracking_uri)
    key = f"rollback/{model}/{uuid.uuid4().hex[:12]}"
    done = roll_back(client, model, by=getpass.getuser(), reason=reason, run_key=key, version=to)
    said = f"{model}: version {done.version} is champion again, version {done.previous} no longer serves"
    typer.echo(json.dumps(asdict(done), indent=2) if as_json else said)


@app.command()
def runs(
    model: Annotated[str, typer.Argument(help="Model to tell about.")],
    last: Annotated[int, typer.Option(help="Most retrains to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the retrains of a model side by side: parameters, metrics, verdicts, outcomes."""
    from evermodel.evidence.runs import retrain_lines
    from evermodel.evidence.runs_table import print_runs
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    lines = retrain_lines(connect(Settings.from_environment().tracking_uri), model, last)
    if as_json:
        typer.echo(json.dumps([line.to_json() for line in lines], indent=2))
    else:
        print_runs(model, lines)


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="Model.")],
    version: Annotated[str, typer.Argument(help="Version in the registry.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train a version again from its snapshot, spec and parameters; exit 1 unless it answers the same."""
    from evermodel.reproduce import reproduce as again
    from evermodel.settings import Settings
    from evermodel.tracking import connect

    settings = Settings.from_environment()
    found = again(connect(settings.tracking_uri), model, version, settings)
    typer.echo(json.dumps(found.to_json(), indent=2) if as_json else "\n".join(found.sentences()))
    raise typer.Exit(0 if found.identical else 1)


@app.command()
def demo(
    leave: Annotated[bool, typer.Option("--exit", help="Stop everything at the end.")] = False,
    home: Annotated[Path, typer.Option(help="Folder for everything that the demo writes.")] = Path(
        ".evermodel/demo"
    ),
    project: Annotated[Path, typer.Option(help="Folder with dags/ and include/models/.")] = Path(),
) -> None:
    """Replay weeks of 2013 on this machine: train, score, drift, alert, retrain, serve."""
    from evermodel.demo.run import run_demo

    raise typer.Exit(0 if run_demo(home, project, leave=leave) else 1)


def main() -> None:
    """Run the command line; a known error is one message, not a traceback."""
    try:
        app()
    except EvermodelError as error:
        typer.echo(f"Error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
