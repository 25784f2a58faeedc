"""Inputs and outputs of the steps, for OpenLineage if Airflow's provider of it is installed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from evermodel.core.logins import without_login

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage

    from evermodel.core.settings import Settings
    from evermodel.spec import ModelSpec
    from evermodel.spec.source import IbisSource, SqlSource

# OpenLineage's names of databases, where they are not SQLAlchemy's, and the ports that belong to a name.
_SCHEMES = {"postgresql": "postgres"}
_PORTS = {"postgres": 5432, "mysql": 3306}


@dataclass(frozen=True)
class Data:
    """A dataset, by OpenLineage's naming rules; it never contains credentials.

    :param version: Content hash, day or version number.
    :param kind: OpenLineage's dataset type, if it does not consist of rows.
    """

    namespace: str
    name: str
    version: str = ""
    rows: int | None = None
    kind: str = ""


def operator_lineage(reads: Sequence[Data], writes: Sequence[Data]) -> OperatorLineage | None:
    """Return the lineage object that the provider expects; None if the provider is not installed."""
    try:
        from airflow.providers.openlineage.extractors import OperatorLineage
        from openlineage.client.event_v2 import InputDataset, OutputDataset
        from openlineage.client.facet_v2 import output_statistics_output_dataset as statistics
    except ImportError:
        return None
    return OperatorLineage(
        inputs=[InputDataset(data.namespace, data.name, facets=_facets(data)) for data in reads],
        outputs=[
            OutputDataset(
                data.namespace,
                data.name,
                facets=_facets(data),
                outputFacets={}
                if data.rows is None
                else {"outputStatistics": statistics.OutputStatisticsOutputDatasetFacet(rowCount=data.rows)},
            )
            for data in writes
        ],
    )


def _facets(data: Data) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_type_dataset, dataset_version_dataset

    facets: dict[str, Any] = {}
    if data.version:
        facets["version"] = dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=data.version)
    if data.kind:
        facets["datasetType"] = dataset_type_dataset.DatasetTypeDatasetFacet(datasetType=data.kind)
    return facets


def source_data(spec: ModelSpec) -> list[Data]:
    """Return the datasets of the spec's source and its tables of events, as far as they are known without reading them."""
    source, events = spec.source, spec.source.tables.values()
    files = [_file(table.path) for table in events if table.path is not None]
    if source.kind == "files":
        found = [_file(source.path)]
    elif source.kind == "python":
        found = [Data("python", source.function)]
    else:
        namespace, database = _database(source)
        name = source.table or source.expression if source.kind == "ibis" else None
        names = _tables(name, source.query, namespace)
        for table in events:
            names += _tables(table.table, table.query, namespace) if table.path is None else []
        found = [Data(namespace, ".".join(filter(None, (database, name)))) for name in names]
    return list(dict.fromkeys([*found, *files]))


def snapshot_data(settings: Settings, snapshot: Mapping[str, Any]) -> Data:
    """Return a snapshot: the file in the lake, and the hash of its content."""
    place = _file(str(settings.lake / snapshot["path"]))
    return replace(place, version=snapshot["digest"], rows=snapshot["rows"])


def predictions_data(settings: Settings, model: str, day: str, rows: int | None = None) -> Data:
    """Return a day of a model's prediction log; all days are one dataset, and the day is its version."""
    return replace(_file(str(settings.lake / "predictions" / model)), version=day, rows=rows)


def version_data(settings: Settings, model: str, version: str) -> Data:
    """Return a version in the registry."""
    return Data(without_login(settings.tracking_uri), model, version, kind="MODEL")


def candidate_data(settings: Settings, model: str, candidate: str, uri: str) -> Data:
    """Return a trained candidate, which is not in the registry yet."""
    return Data(without_login(settings.tracking_uri), f"{model}.{candidate}", uri, kind="MODEL")


def _file(path: str) -> Data:
    place = path.rpartition("::")[2]  # fsspec's chains end with where the bytes are
    if "://" not in place:
        return Data("file", str(Path(place).absolute()))
    parts = urlsplit(without_login(place))
    if parts.scheme == "file":
        return Data("file", parts.path)
    return Data(f"{parts.scheme}://{parts.netloc}", parts.path.lstrip("/"))


def _database(source: SqlSource | IbisSource) -> tuple[str, str]:
    """Return the namespace of a database server, and the database's name."""
    if source.connection:
        from evermodel_provider.connections import AirflowConnections

        url = AirflowConnections().url(source.connection)
        backend, host, port, database = url.get_backend_name(), url.host, url.port, url.database
    elif source.kind == "ibis":
        parts = urlsplit(without_login(source.url))
        backend, host, port, database = parts.scheme, parts.hostname, parts.port, parts.path
    scheme = _SCHEMES.get(backend, backend)
    port = port or _PORTS.get(scheme)
    place = f"{scheme}://{host}" if host else scheme
    return (f"{place}:{port}" if host and port else place), (database or "").strip("/")


def _tables(name: str | None, query: str | None, namespace: str) -> list[str]:
    """Return the name that is read, or those of the tables that a query reads."""
    if name is not None:
        return [name]
    try:
        from openlineage.common.sql import parse
    except ImportError:
        return ["query"]
    query = re.sub(r"\{\{\s*(start|end)\s*\}\}", r":\1", query or "")
    found = parse([query], dialect=namespace.partition(":")[0])
    default = "public." if namespace.startswith("postgres:") else ""
    names = [t.qualified_name if t.schema else default + t.name for t in found.in_tables] if found else []
    return sorted(names) or ["query"]
