"""The command `evermodel dags`: DAG files for an Airflow that is there already."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson
from evermodel.core.atomic import write_text
from evermodel.core.dag_ids import dag_id
from evermodel.core.errors import PermanentError

dags = typer.Typer(help="Put the models' DAGs into an Airflow.", no_args_is_help=True)
# An import error hides every DAG of its file, so that broken specs have one of their own.
_FILES = {
    "evermodel_dags.py": ("The DAGs of every model spec", ""),
    "evermodel_broken_specs.py": (
        "Shows broken model specs as the import error of this file",
        ', kinds=["broken_specs"]',
    ),
}
_TEXT = '''"""{says} (an Airflow DAG file)."""

from evermodel_provider import build_dags

globals().update(build_dags({models}{more}))
'''


@dags.callback()
def _group() -> None:
    """Keep `write` a command of its own name."""


@dags.command()
def write(
    folder: Annotated[
        Path | None, typer.Argument(help="Airflow's DAGs folder. Default: as configured.")
    ] = None,
    models: Annotated[
        Path | None, typer.Option(help="Folder of the specs. Default: EVERMODEL_MODELS.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite files that differ.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the files that build the DAGs of every model spec into a DAGs folder."""
    from evermodel.core.settings import Settings
    from evermodel.spec import load_specs

    settings = Settings.from_environment().with_models(models.absolute() if models else "")
    if not settings.models.is_dir():
        raise PermanentError(
            f"{settings.models}: no such folder",
            "name the folder of the specs with --models, or EVERMODEL_MODELS",
        )
    specs, broken = load_specs(None, settings)
    place = (folder or _configured()).absolute()
    wanted = {
        place / name: _TEXT.format(says=says, models=json.dumps(str(settings.models)), more=more)
        for name, (says, more) in _FILES.items()
    }
    done = {str(file): state for file, state in _states(wanted, force).items()}
    for file, text in wanted.items():
        if done[str(file)] != "unchanged":
            write_text(file, text)
    names = [spec.name for spec in specs]
    told = [f"{file}: {state}" for file, state in done.items()]
    told.append(f"Models in {settings.models}: {', '.join(names) or 'none'}; broken specs: {len(broken)}")
    first = dag_id("retrain", names[0]) if names else "DAG"
    told.append(
        f"Next: airflow dags reserialize (or wait until Airflow finds them), airflow dags unpause {first}"
    )
    data = {"files": done, "models": names, "broken": [str(problem.path) for problem in broken]}
    output.answer(as_json, data, "\n".join(told))


def _states(wanted: dict[Path, str], force: bool) -> dict[Path, str]:
    """Return what happens to each file; raise before the first is written if one is not ours."""
    found: dict[Path, str] = {}
    for file, text in wanted.items():
        there = file.read_text(encoding="utf-8", errors="replace") if file.exists() else None
        if there not in (None, text) and not force:
            raise PermanentError(
                f"{file} has other content", "rename it, name another folder, or overwrite it with --force"
            )
        found[file] = "written" if there is None else "unchanged" if there == text else "overwritten"
    return found


def _configured() -> Path:
    """Ask Airflow, in a process of its own, for the DAGs folder."""
    command = [sys.executable, "-m", "airflow", "config", "get-value", "core", "dags_folder"]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise PermanentError(
            f"Airflow does not name its DAGs folder ({(done.stderr.strip().splitlines() or ['no output'])[-1]})",
            "name it: evermodel dags write FOLDER",
        )
    return Path(lines[-1])
