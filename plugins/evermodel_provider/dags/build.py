"""The DAGs of every model spec in a folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import DAG, get_parsing_context
from airflow.sdk.definitions.mappedoperator import MappedOperator

from evermodel.core.dag_ids import MODEL_KINDS, id_prefix, parts_of
from evermodel.core.errors import PermanentError, SpecError
from evermodel.core.names import require_known
from evermodel.core.settings import Settings
from evermodel.spec import load_specs
from evermodel_provider.dag_parts import require_pods
from evermodel_provider.dags.options import DagOptions
from evermodel_provider.operators.base import task_doc

if TYPE_CHECKING:
    from evermodel.spec import ModelSpec

KINDS = (*MODEL_KINDS, "digest", "guard", "messages")
BROKEN = "broken_specs"

log = logging.getLogger(__name__)


def build_dags(
    folder: str | Path | None = None,
    *,
    kinds: Iterable[str] = KINDS,
    default_args: Mapping[str, Any] | None = None,
    tags: Sequence[str] = (),
    schedules: Mapping[str, Any] | None = None,
    pool: str | None = None,
    access_control: Mapping[str, Any] | None = None,
    callbacks: Mapping[str, Any] | None = None,
    dag_id_prefix: str | None = None,
) -> dict[str, DAG]:
    """Return the DAGs of every model spec in a folder, by DAG id; call it in the DAG file itself.

    A broken spec is left out with a warning. A second file with ``kinds=["broken_specs"]`` shows it as an import error
    without hiding a DAG. In a task's process only the DAG of the task is built.

    :param folder: Folder of the specs. Default: the installation's (``EVERMODEL_MODELS``).
    :param kinds: Which DAGs. Default: all.
    :param default_args: Arguments of all tasks; they replace those of the spec, such as ``owner``.
    :param tags: Tags of all DAGs, beside their own.
    :param schedules: Schedules by kind, instead of the specs': a cron (UTC), a timetable, an asset, or None for no schedule.
        Requests for a retrain start the retrain DAG with each of them.
    :param pool: Pool of the tasks whose spec sets none.
    :param access_control: Rights on all DAGs by role, beside those of the spec's team.
    :param callbacks: Callbacks of all tasks, or lists of them, by their name in Airflow, beside evermodel's own.
    :param dag_id_prefix: What every DAG id begins with; only ``EVERMODEL_DAG_ID_PREFIX`` can set it.
    :raises PermanentError: The folder is missing, or a name is unknown.
    """
    kinds = [kinds] if isinstance(kinds, str) else list(kinds)
    require_known("kinds", kinds, (*KINDS, BROKEN))
    _require_prefix(dag_id_prefix)
    place = _folder(folder)
    if BROKEN in kinds:
        return _raise_problems(kinds, place)
    kinds, only = _to_parse(kinds)
    if not kinds:
        return {}
    specs = [] if kinds == ["messages"] else _usable(only, place)
    options = DagOptions(specs, place, default_args, tags, schedules, pool, access_control, callbacks)
    return _built(kinds, options, sys._getframe(1).f_code.co_filename)


def _usable(only: str | None, place: Path | None) -> list[ModelSpec]:
    specs, errors = _loaded(only, place)
    for error in errors:
        log.warning("Left out: %s", error)
    return specs


def _loaded(only: str | None, place: Path | None) -> tuple[list[ModelSpec], list[SpecError]]:
    """Return the specs that DAGs can be made of, and what is wrong with the others."""
    specs, problems = load_specs(only, Settings.from_environment().with_models(place or ""))
    usable, errors = [], [problem.error for problem in problems]
    for spec in specs:
        try:
            require_pods(spec)
        except SpecError as error:
            errors.append(error)
        else:
            usable.append(spec)
    return usable, errors


def _built(kinds: Iterable[str], options: DagOptions, file: str) -> dict[str, DAG]:
    """Build the DAGs of a file; Airflow would take them for DAGs of the modules that make them."""
    found: dict[str, DAG] = {}
    for kind in kinds:
        build = import_module(f"evermodel_provider.dags.{kind}").build
        specs = [spec for spec in options.specs if spec.watch is None or kind == "drift"]
        made = [build(options, spec) for spec in specs] if kind in MODEL_KINDS else build(options)
        for dag in made:
            dag.fileloc = file
            _document(dag)
            found[dag.dag_id] = dag
    return found


def _document(dag: DAG) -> None:
    """Give each task without documentation that of its operator: sensors, and mapped tasks, which are made later."""
    for task in dag.tasks:
        if isinstance(task, MappedOperator):
            task.partial_kwargs.setdefault("doc_md", task_doc(task.operator_class))
        elif not task.doc_md:
            task.doc_md = task_doc(type(task))


def _to_parse(kinds: list[str]) -> tuple[list[str], str | None]:
    """Return the kinds to build, and the only model whose spec is needed, if it is one.

    The process of a task needs the DAG of the task, and no other.
    """
    wanted = get_parsing_context().dag_id
    if not wanted:
        return kinds, None
    kind, model = parts_of(wanted)
    return [one for one in kinds if one == kind], model if kind in MODEL_KINDS else None


def _folder(folder: str | Path | None) -> Path | None:
    """Return the folder if it is not the installation's own."""
    if folder is None:
        return None
    place = Path(folder).expanduser().absolute()
    if not place.is_dir():
        raise PermanentError(f"{place}: no such folder", "name the folder of the model specs")
    return None if place == Settings.from_environment().models else place


def _raise_problems(kinds: list[str], place: Path | None) -> dict[str, DAG]:
    """Raise the mistakes of all broken specs, as the import error of this file."""
    if kinds != [BROKEN]:
        raise PermanentError(
            f"kinds: {BROKEN!r} with others in one file: its import error would hide their DAGs",
            f'write build_dags(..., kinds=["{BROKEN}"]) into a file of its own',
        )
    _, errors = _loaded(None, place)
    if errors:
        raise SpecError("\n\n".join(map(str, errors)))
    return {}


def _require_prefix(wanted: str | None) -> None:
    if wanted is not None and wanted != id_prefix():
        raise PermanentError(
            f"dag_id_prefix {wanted!r} differs from EVERMODEL_DAG_ID_PREFIX ({id_prefix()!r}): the Models page, its "
            "rights, and the links and texts of messages would name DAGs that do not exist",
            f"set EVERMODEL_DAG_ID_PREFIX={wanted} for every process, and leave the argument out",
        )
