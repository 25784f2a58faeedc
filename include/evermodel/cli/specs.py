"""The commands about model specs: their schema, and whether they can be used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, AsOf, model_names, moment_of
from evermodel.core.atomic import write_text
from evermodel.core.errors import ApprovalError, EvermodelError, SpecError

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.spec import ModelSpec
    from evermodel.spec.model import CandidateSpec

# Letters of any script, but no capitals.
_CHANNEL = re.compile(r"#?(?:(?![A-Z])[\w-]){1,80}|[CGD][A-Z0-9]{8,}")


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
    try_them: Annotated[
        bool, typer.Option("--try", help="Also fit, store and ask every candidate on rows of the source.")
    ] = False,
    as_of: AsOf = None,
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
    for line in found:
        if try_them and line["ok"]:
            line["candidates"] = _contracts(line["spec"], settings, as_of)
            line["ok"] = all(check["passed"] for checks in line["candidates"].values() for check in checks)
        if not as_json:
            _print(line)
    if as_json:
        output.print_json(found)
    if not all(line["ok"] for line in found):
        raise typer.Exit(1)


def _print(line: dict[str, Any]) -> None:
    if "mistakes" in line:
        mistakes = "\n".join(line["mistakes"])
        typer.echo(f"✗ {mistakes}\n  What to do: {line['advice']}", err=True)
        return
    typer.echo(f"✓ {line['spec']}: model {line['model']}, digest {line['digest']}")
    for candidate, checks in line.get("candidates", {}).items():
        typer.echo(f"  candidate {candidate}")
        for check in checks:
            typer.echo(f"    {'✓' if check['passed'] else '✗'} {check['name']:<15}  {check['detail']}")
            if not check["passed"]:
                typer.echo(f"      What to do: {check['advice']}")


def _contracts(name: str, settings: Settings, as_of: str | None) -> dict[str, list[dict[str, Any]]]:
    """Try every candidate of a spec on rows that a retrain as of a day reads."""
    from evermodel.evaluation.contract import check_contract, contract_rows
    from evermodel.spec import load_spec

    spec = load_spec(name, settings)
    if not spec.candidates:
        return {}
    with output.waiting(f"{spec.name}: read rows and try the candidates"):
        rows = contract_rows(spec, moment_of(as_of))
        return {c.name: [line.to_json() for line in check_contract(spec, c, rows)] for c in spec.candidates}


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
    mistakes = [*_channels(spec), *([] if files_only else (*_unset(spec), *_estimators(spec)))]
    if mistakes:
        advice = "correct the file, or set what is missing here; --files-only checks the file alone"
        return {"spec": name, "ok": False, "mistakes": mistakes, "advice": advice}
    return {"spec": name, "ok": True, "model": spec.name, "digest": spec.digest}


def _channels(spec: ModelSpec) -> Iterator[str]:
    """Check the names of Slack's channels: Slack says only at the first alert that one cannot exist."""
    for field, channel in (
        ("channel", spec.alerts.channel),
        ("escalation.channel", spec.alerts.escalation.channel),
    ):
        if channel is not None and not _CHANNEL.fullmatch(channel):
            yield (
                f"model {spec.name}: alerts.{field}: {channel!r} is no channel of Slack: write `#name` in small letters, "
                "digits, - and _ (at most 80), or a channel's id (C…)"
            )


def _unset(spec: ModelSpec) -> Iterator[str]:
    from evermodel.spec.load import unset_variables

    for name in unset_variables(spec):
        yield f"model {spec.name}: the environment variable {name} is not set, and the spec has no default for it"


def _estimators(spec: ModelSpec) -> Iterator[str]:
    """Build every candidate, also with the first of the parameters that are searched, as a retrain does."""
    for candidate in spec.candidates:
        space = candidate.search.space if candidate.search is not None else {}
        first = {k: v[0] if isinstance(v, tuple) else v.low for k, v in space.items()}
        searched = candidate.model_copy(update={"params": {**candidate.params, **first}})
        for tried in [candidate] if not space else [candidate, searched]:
            if (problem := _estimator_problem(tried, spec)) is not None:
                yield f"model {spec.name}: {problem}"
                break


def _estimator_problem(candidate: CandidateSpec, spec: ModelSpec) -> str | None:
    from evermodel.modeling.estimators import build_pipeline

    try:
        estimator = build_pipeline(spec, candidate).steps[-1][1]
        validate = getattr(estimator, "_validate_params", None)  # scikit-learn checks types only when it fits
        if validate is not None:
            validate()
    except EvermodelError as error:
        return f"{error.problem}; {error.advice}"
    except (TypeError, ValueError) as error:
        return f"candidate {candidate.name}: {' '.join(str(error).split())}"
    return None
