"""Read model specs from YAML, with errors that name file, line, field and the nearest valid name."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from evermodel.core.errors import SpecError
from evermodel.core.names import did_you_mean
from evermodel.core.paths import inside
from evermodel.core.settings import Settings, current_environment
from evermodel.spec.environments import SECTION, in_environment, places_in
from evermodel.spec.model import ModelSpec

_SECRET = re.compile(
    r"(?<=://)[^/@\s]+(?=@)|(?<=[?&])(?:pass\w*|pwd|token|secret\w*)=[^&\s']+", re.IGNORECASE
)
_QUOTED = re.compile(r"'([^']+)'")  # the values that a field may have, in the text of pydantic
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
Lines = dict[tuple[str | int, ...], int]


# Deeper than any spec, and far from what the parser in C, which does not count, has stack for.
_DEEP = 2000


class _Loader(yaml.SafeLoader):
    """A safe loader that names the place of a value that no type can hold, such as the date 2013-02-31."""

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep)  # type: ignore[no-untyped-call]
        except ValueError as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


@dataclass(frozen=True)
class SpecProblem:
    """One spec file that cannot be used, with its error."""

    path: Path
    error: SpecError


def spec_path(model: str, settings: Settings | None = None) -> Path:
    """Find the YAML file of a model, by its name or by its path."""
    if model.endswith((".yaml", ".yml")):
        return Path(model)
    folder = (settings or Settings.from_environment()).models
    return inside(folder, f"{model}.yaml", links=True)


def spec_folder(model: str) -> str:
    """Return the folder of a spec that is named by its path; empty for a model's name."""
    return str(Path(model).parent) if model.endswith((".yaml", ".yml")) else ""


def load_spec(model: str | Path, settings: Settings | None = None) -> ModelSpec:
    """Read one model spec.

    Parameters
    ----------
    model
        A model's name, looked up in the folder of specs, or the path of a YAML file.

    Raises
    ------
    SpecError
        The file is missing, is no YAML, or has a mistake; the message names each one.
    """
    path = model if isinstance(model, Path) else spec_path(model, settings)
    environment = settings.environment if settings else current_environment()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise SpecError(
            f"{path}: cannot be read: {error.strerror or error}", _missing_advice(path)
        ) from error
    except UnicodeDecodeError as error:
        raise SpecError(f"{path}: is not UTF-8 ({error})", "save the file as UTF-8") from None
    try:
        data, lines = _parse(path, text)
        lines = places_in(lines, environment)
        written = in_environment(data, environment)
        expanded = with_variables(written)
        spec = ModelSpec.model_validate(expanded).written_as(None if expanded == written else written)
    except RecursionError:
        raise SpecError(
            f"{path}: is nested too deeply, or an anchor contains itself", "flatten the file"
        ) from None
    except ValidationError as error:
        problems = [line for problem in error.errors() for line in _describe(path, problem, lines, written)]
        raise SpecError("\n".join(problems), "correct the file and run `evermodel check`") from None
    if spec.name != path.stem:
        raise SpecError(
            f"{path}: line {lines.get(('name',), 1)}: name: {spec.name!r} differs from the file's name",
            f"rename the file to {spec.name}.yaml or the model to {path.stem}",
        )
    return spec


def environments_of(path: Path) -> list[str]:
    """Return the environments that a spec names, sorted; none of a file that cannot be read as one."""
    try:
        data, _ = _parse(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, SpecError, RecursionError):
        return []
    declared = data.get(SECTION)
    return sorted(map(str, declared)) if isinstance(declared, dict) else []


def load_specs(
    only: str | None = None, settings: Settings | None = None
) -> tuple[list[ModelSpec], list[SpecProblem]]:
    """Read every spec of the models' folder; a broken one never hides another.

    Returns
    -------
    The usable specs, sorted by file name, and the problems of the others.
    """
    folder = (settings or Settings.from_environment()).models
    specs: list[ModelSpec] = []
    problems: list[SpecProblem] = []
    for path in spec_files(folder):
        if only is not None and path.stem != only:
            continue
        try:
            specs.append(load_spec(path))
        except SpecError as error:
            problems.append(SpecProblem(path, error))
    return specs, problems


def spec_files(folder: Path) -> list[Path]:
    """Return the model specs of a folder, sorted, without the schema files beside them."""
    return sorted(path for path in folder.glob("*.yaml") if not path.name.endswith(".schema.yaml"))


def _missing_advice(path: Path) -> str:
    names = [p.stem for p in spec_files(path.parent)]
    near = difflib.get_close_matches(path.stem, names, n=1)
    if near:
        return f"did you mean {near[0]}?"
    known = f"known models: {', '.join(names)}" if names else f"{path.parent} contains no spec"
    return f"{known}; EVERMODEL_MODELS sets the folder of the specs"


def _compose(text: str) -> yaml.Node | None:
    """Return the tree of a text, by the parser in C if there is one: it is ten times as fast."""
    fast = getattr(yaml, "CSafeLoader", None)
    # A level takes a column of indentation or a bracket.
    depth = max(map(len, text.splitlines()), default=0) + text.count("[") + text.count("{")
    if fast is not None and depth < _DEEP:
        try:
            return yaml.compose(text, Loader=fast)
        except yaml.YAMLError:
            pass  # the one in Python says better what is wrong
    return yaml.compose(text, Loader=_Loader)


def _parse(path: Path, text: str) -> tuple[dict[str, Any], Lines]:
    try:
        root = _compose(text)
        lines = _lines(path, root)  # before values are made: that pulls merged mappings in
        data = _Loader("").construct_document(root) if root is not None else None  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = getattr(error, "problem", None) or "invalid YAML"
        raise SpecError(f"{path}: {where}{reason}", "correct the YAML there") from None
    if not isinstance(data, dict):
        raise SpecError(f"{path}: line 1: a spec must be a mapping of fields", "start with `name: my_model`")
    return data, lines


def _lines(path: Path, root: yaml.Node | None) -> Lines:
    """Return the line of every field; a duplicate field is rejected."""
    lines: Lines = {}
    for key, line in _walk(root, ()):
        if key in lines:
            raise SpecError(
                f"{path}: line {line}: {'.'.join(map(str, key))} is duplicated (first on line {lines[key]})",
                "keep one of the two",
            )
        lines[key] = line
    return lines


def _walk(
    node: yaml.Node | None, prefix: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], int]]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*prefix, str(key.value))
            yield here, key.start_mark.line + 1
            yield from _walk(value, here)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            here = (*prefix, index)
            yield here, value.start_mark.line + 1
            yield from _walk(value, here)


def unset_variables(spec: ModelSpec) -> list[str]:
    """Return the variables that a spec names with ``${NAME}`` and that are not set here, sorted."""
    return sorted({found[1] for text in _texts(spec.canonical()) for found in _VARIABLE.finditer(text)})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _texts(item)


def with_variables(value: object, environ: Mapping[str, str] = os.environ) -> Any:
    """Replace ``${NAME}`` and ``${NAME:-default}`` in a spec's data; an unset variable stays as written."""
    if isinstance(value, str):
        return _VARIABLE.sub(lambda m: environ.get(m[1], m[0] if m[2] is None else m[2]), value)
    if isinstance(value, dict):
        return {key: with_variables(item, environ) for key, item in value.items()}
    if isinstance(value, list):
        return [with_variables(item, environ) for item in value]
    return value


def _describe(path: Path, problem: ErrorDetails, lines: Lines, written: Any) -> list[str]:
    location = _as_written(problem["loc"])
    reason = problem["msg"].removeprefix("Value error, ")
    if not location:
        # Checks across fields: each reason begins with the name of its field.
        return [f"{path}: line {_line(_place(r), lines)}: {r}" for r in reason.split("; ")]
    where = f"{path}: line {_line(location, lines)}: {'.'.join(map(str, location))}: "
    if problem["type"] == "extra_forbidden":
        return [where + _unknown_field(problem["loc"])]
    if problem["type"] == "unknown_kind":
        return [_unknown_kind(path, problem, lines)]
    if problem["type"] == "missing":
        return [where + "this field is required"]
    found = _at(written, location)
    if isinstance(found, str) and _VARIABLE.search(found):  # its value may be a secret
        return [f"{where}the value of {found} is not valid ({problem['type'].replace('_', ' ')})"]
    hint = ""
    if problem["type"] == "literal_error" and isinstance(found, str):
        hint = did_you_mean(found, _QUOTED.findall(problem["ctx"]["expected"]))
    return [f"{where}{reason} (found {_short(problem['input'])}{hint})"]


def _at(data: Any, location: tuple[str | int, ...]) -> Any:
    for step in location:
        try:
            data = data[step]
        except (KeyError, IndexError, TypeError):
            return None
    return data


def _place(reason: str) -> tuple[int | str, ...]:
    parts = reason.split(":")[0].split(".")
    return tuple(int(part) if part.isdecimal() else part for part in parts)


def _line(location: tuple[int | str, ...], lines: Lines) -> int:
    while location and location not in lines:
        location = location[:-1]
    return lines.get(location, 1)


def _unknown_field(location: tuple[int | str, ...]) -> str:
    allowed = _fields_at(location[:-1])
    return f"unknown field{did_you_mean(location[-1], allowed)} (allowed: {', '.join(allowed)})"


def _unknown_kind(path: Path, problem: ErrorDetails, lines: Lines) -> str:
    location = (*problem["loc"], "kind")
    found = problem["input"].get("kind") if isinstance(problem["input"], dict) else None
    kinds = [kind for section in _sections_at(problem["loc"]) if (kind := _kind_of(section))]
    hint = did_you_mean(found, kinds)
    where = f"{path}: line {_line(location, lines)}: {'.'.join(map(str, location))}: "
    return f"{where}{found!r} is not a kind of {problem['loc'][-1]}{hint} (allowed: {', '.join(kinds)})"


def _as_written(location: tuple[int | str, ...]) -> tuple[int | str, ...]:
    """Remove path parts that name the kind of section; they are not in the file."""
    return tuple(
        part
        for index, part in enumerate(location)
        if part not in [_kind_of(section) for section in _sections_at(location[:index])]
    )


def _fields_at(location: tuple[int | str, ...]) -> list[str]:
    sections = _sections_at(location)
    return sorted(sections[0].model_fields)


def _sections_at(location: tuple[int | str, ...]) -> list[type[BaseModel]]:
    """Return the sections that may stand at a place; several where a field takes one of many kinds."""
    sections: list[type[BaseModel]] = [ModelSpec]
    for part in location:
        field = sections[0].model_fields.get(str(part))
        if field is not None:
            sections = sections_of(field.annotation) or sections
        else:  # an index, the key of a mapping, or which kind of entry was tried
            sections = [section for section in sections if _kind_of(section) == part] or sections
    return sections


def _kind_of(section: type[BaseModel]) -> str | None:
    field = section.model_fields.get("kind")
    choices: tuple[Any, ...] = getattr(field.annotation, "__args__", ()) if field else ()
    return str(choices[0]) if len(choices) == 1 else None


def sections_of(annotation: object) -> list[type[BaseModel]]:
    """Return the sections that a field's type names: none, one, or one for each kind."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [section for part in getattr(annotation, "__args__", ()) for section in sections_of(part)]


def _short(value: object) -> str:
    text = _SECRET.sub("***", repr(value))
    return text if len(text) <= 60 else text[:57] + "..."
