"""The commands about model specs: their schema, and whether they can be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, model_names
from evermodel.core.atomic import write_text
from evermodel.core.errors import ApprovalError, EvermodelError, SpecError

if TYPE_CHECKING:
    from evermodel.core.settings import Settings


def schema(
    out: Annotated[Path | None, typer.Option(help="File to write. Default: stdout.")] = None,
) -> None:
    """Print the JSON Schema of model specs, for editors."""
    from evermodel.spec.model import json_schema

    text = json.dumps(json_schema(), indent=2) + "\n"
    if out is None:
        typer.echo(text, nl=False)
    else:
        write_text(out, text)


def check(
    specs: Annotated[
        list[str] | None,
        typer.Argument(help="Models or YAML files. Default: all.", autocompletion=model_names),
    ] = None,
    files_only: Annotated[
        bool, typer.Option("--files-only", help="Check the files alone, not what is installed here.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check model specs for each environment, and that what they need is installed; report every mistake."""
    from evermodel.core.settings import Settings
    from evermodel.spec.load import spec_files

    settings = Settings.from_environment()
    folder = settings.models
    names = specs or [str(path) for path in spec_files(folder)]
    if not names:
        raise EvermodelError(f"no spec in {folder}", "set EVERMODEL_MODELS, or pass a file")
    found = [_checked(name, settings, files_only) for name in names]
    if as_json:
        output.print_json(found)
    for line in [] if as_json else found:
        if line["ok"]:
            typer.echo(f"✓ {line['spec']}: model {line['model']}, digest {line['digest']}")
        else:
            mistakes = "\n".join(line["mistakes"])
            typer.echo(f"✗ {mistakes}\n  What to do: {line['advice']}", err=True)
    if not all(line["ok"] for line in found):
        raise typer.Exit(1)


def _checked(name: str, settings: Settings, files_only: bool) -> dict[str, Any]:
    """Read a spec and its schema file, and say what is wrong with them, or missing here."""
    from evermodel.data.validation.schema_file import find_schema, read_schema
    from evermodel.registry.approval import require_approvers
    from evermodel.spec import load_spec
    from evermodel.spec.libraries import missing_extras
    from evermodel.spec.load import environments_of, spec_path

    try:
        spec = load_spec(name, settings)
        others = environments_of(spec_path(name, settings))
        for each in [
            spec,
            *(load_spec(name, settings.model_copy(update={"environment": e})) for e in others),
        ]:
            require_approvers(each.name, each.approval, each.approvers)
        if (expected := find_schema(spec.name, settings)) is not None:
            read_schema(expected)
    except (SpecError, ApprovalError) as error:
        return {"spec": name, "ok": False, "mistakes": error.problem.split("\n"), "advice": error.advice}
    missing, advice = ([], "") if files_only else missing_extras(spec)
    if missing:
        return {"spec": name, "ok": False, "mistakes": missing, "advice": advice}
    return {"spec": name, "ok": True, "model": spec.name, "digest": spec.digest}
