"""The optional libraries that a model's DAGs import, derived from its spec."""

from __future__ import annotations

from evermodel.core.extras import EXTRAS, OF_SCHEME, extra_of, install_command, is_installed
from evermodel.spec.model import ModelSpec
from evermodel.spec.source import BaseSource, FilesSource, IbisSource


def libraries_of(spec: ModelSpec) -> dict[str, str]:
    """Return what a model's DAGs import beside the core: why each library is needed, by its import name."""
    if spec.watch is None:
        found = dict.fromkeys(EXTRAS["train"], "a retrain")
        found["dvc"] = "tracking of snapshots"
    else:
        found = {library: "the prediction log" for library in ("deltalake", "duckdb")}
    for candidate in spec.candidates:
        library = candidate.package
        if library in EXTRAS["boosting"]:
            found[library] = f"candidate {candidate.name}"
    for column, watch in spec.drift.by_column.items():
        if watch.method != "calibrated":
            found["evidently"] = f"drift.by_column.{column}.method: {watch.method}"
    for source in spec.sources:
        found |= _of_source(source)
    for section, engine in (("score", spec.score.engine), ("drift", spec.drift.engine)):
        if engine == "spark":
            found["pyspark"] = f"{section}.engine: spark"
    return found


def _of_source(source: BaseSource) -> dict[str, str]:
    found = {}
    if isinstance(source, IbisSource):
        found["ibis"] = "source.kind: ibis"
        if source.url.startswith("pyspark"):
            found["pyspark"] = f"source.url: {source.url}"
    if isinstance(source, FilesSource):
        extra = OF_SCHEME.get(source.path.partition("://")[0] if "://" in source.path else "")
        if extra:
            found[EXTRAS[extra][0]] = f"source.path: {source.path}"
    return found


def missing_extras(spec: ModelSpec) -> tuple[list[str], str]:
    """Return what a model's DAGs lack in this environment.

    Returns
    -------
    One line for each missing extra with what needs it, and the command that installs all of them; both empty if
    nothing is missing.
    """
    needs: dict[str, list[tuple[str, str]]] = {}
    for library, why in libraries_of(spec).items():
        extra = extra_of(library)
        if extra is not None and not is_installed(library):
            needs.setdefault(extra, []).append((library, why))
    lines = [
        f"model {spec.name}: {found[0][1]} needs {', '.join(library for library, _ in found)}"
        for found in needs.values()
    ]
    return lines, install_command(list(needs)) if needs else ""
