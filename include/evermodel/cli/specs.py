"""The commands about model specs: their schema, and whether they can be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from evermodel.errors import EvermodelError


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


def check(
    specs: Annotated[
        list[str] | None, typer.Argument(help="Models or YAML files; all if none is given.")
    ] = None,
) -> None:
    """Check model specs, as each environment sees them; every mistake is named with its line."""
    from evermodel.errors import SpecError
    from evermodel.settings import Settings
    from evermodel.spec import load_spec
    from evermodel.spec.load import environments_of, spec_files, spec_path
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
            for environment in environments_of(spec_path(name, settings)):
                load_spec(name, settings.model_copy(update={"environment": environment}))
            if (expected := find_schema(spec.name, settings)) is not None:
                read_schema(expected)
        except SpecError as error:
            broken += 1
            typer.echo(f"✗ {error}", err=True)
        else:
            typer.echo(f"✓ {name}: model {spec.name}, digest {spec.digest}")
    if broken:
        raise typer.Exit(1)
