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
    from openlineage.common.sql import SqlMeta

    from evermodel.core.settings import Settings
    from evermodel.spec import ModelSpec
    from evermodel.spec.feast import FeastSpec
    from evermodel.spec.source import IbisSource, SourceSpec, SqlSource

# OpenLineage's names of databases, where they are not SQLAlchemy's, and the ports that belong to a name.
_SCHEMES = {"postgresql": "postgres"}
_PORTS = {"postgres": 5432, "mysql": 3306}
_DIRECT = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")


@dataclass(frozen=True)
class Data:
    """A dataset, by OpenLineage's naming rules; it never contains credentials.

    :param version: Content hash, day or version number.
    :param kind: OpenLineage's dataset type, if it does not consist of rows.
    :param columns: Its columns, with what they come from.
    """

    namespace: str
    name: str
    version: str = ""
    rows: int | None = None
    kind: str = ""
    columns: tuple[OutputColumn, ...] = ()


@dataclass(frozen=True)
class ColumnOrigin:
    """A column that another column comes from.

    :param subtype: OpenLineage's kind of transformation: IDENTITY, TRANSFORMATION or AGGREGATION of the value;
        JOIN, WINDOW or FILTER of what picks the rows.
    """

    data: Data
    field: str
    subtype: str
    description: str = ""

    @property
    def direct(self) -> bool:
        """Whether the value comes from it, and not only the choice of rows."""
        return self.subtype in _DIRECT


@dataclass(frozen=True)
class OutputColumn:
    """A column of a dataset, and what it comes from as far as that is known."""

    name: str
    origins: tuple[ColumnOrigin, ...] = ()
    description: str = ""


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
    return facets | (_column_facets(data.columns) if data.columns else {})


def _column_facets(columns: Sequence[OutputColumn]) -> dict[str, Any]:
    from openlineage.client.facet_v2 import column_lineage_dataset as lineage
    from openlineage.client.facet_v2 import schema_dataset as schema

    fields = [
        schema.SchemaDatasetFacetFields(one.name, description=one.description or None) for one in columns
    ]
    origins = {
        column.name: lineage.Fields(
            inputFields=[
                lineage.InputField(
                    *(one.data.namespace, one.data.name, one.field),
                    transformations=[
                        lineage.Transformation(
                            "DIRECT" if one.direct else "INDIRECT", one.subtype, one.description or None
                        )
                    ],
                )
                for one in column.origins
            ]
        )
        for column in columns
        if column.origins
    }
    return {
        "schema": schema.SchemaDatasetFacet(fields=fields),
        "columnLineage": lineage.ColumnLineageDatasetFacet(fields=origins),
    }


def source_data(spec: ModelSpec) -> list[Data]:
    """Return the datasets of the spec's source, its tables of events and Feast, as far as they are known without reading them."""
    source = spec.source
    events = [data for name in source.tables for data in event_data(source, name)]
    given = [] if source.feast is None else [feast_data(source.feast)]
    return list(dict.fromkeys([*row_data(source), *events, *given]))


def row_data(source: SourceSpec) -> list[Data]:
    """Return the datasets that the rows of a source are read from."""
    if source.kind == "files":
        return [_file(source.path)]
    if source.kind == "python":
        return [Data("python", source.function)]
    name = source.table or source.expression if source.kind == "ibis" else None
    return _in_database(source, name, source.query)


def event_data(source: SourceSpec, table: str) -> list[Data]:
    """Return the datasets that one of the tables of events is read from."""
    found = source.tables[table]
    if found.path is not None:
        return [_file(found.path)]
    assert source.kind == "ibis"
    return _in_database(source, found.table, found.query)


def feast_data(feast: FeastSpec) -> Data:
    """Return a feature service of Feast, in the namespace of its repository's folder."""
    return Data(f"feast://{Path(feast.repo).name}", feast.service)


def query_columns(query: str, place: Data) -> dict[str, list[tuple[str, str]]]:
    """Return of each column that a query gives by name the tables and columns that it is made of.

    :param place: What is read; its namespace decides the dialect.
    """
    found = _parsed(query, place.namespace)
    return {
        one.descendant.name: [(part.origin.name if part.origin else "", part.name) for part in one.lineage]
        for one in (found.column_lineage if found else ())
    }


def snapshot_data(
    settings: Settings, snapshot: Mapping[str, Any], columns: tuple[OutputColumn, ...] = ()
) -> Data:
    """Return a snapshot: the file in the lake, and the hash of its content."""
    place = _file(str(settings.lake / snapshot["path"]))
    return replace(place, version=snapshot["digest"], rows=snapshot["rows"], columns=columns)


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


def _in_database(source: SqlSource | IbisSource, name: str | None, query: str | None) -> list[Data]:
    """Return the table that is read, or those that a query reads."""
    namespace, database = _database(source)
    names = _tables(query, namespace) if name is None else [name]
    return [Data(namespace, ".".join(filter(None, (database, table)))) for table in names]


def _tables(query: str | None, namespace: str) -> list[str]:
    """Return the names of the tables that a query reads."""
    found = _parsed(query or "", namespace)
    default = "public." if namespace.startswith("postgres:") else ""
    names = [t.qualified_name if t.schema else default + t.name for t in found.in_tables] if found else []
    return sorted(names) or ["query"]


def _parsed(query: str, namespace: str) -> SqlMeta | None:
    """Return what OpenLineage's parser finds in a query; None without it."""
    try:
        from openlineage.common.sql import parse
    except ImportError:
        return None
    return parse([re.sub(r"\{\{\s*(start|end)\s*\}\}", r":\1", query)], dialect=namespace.partition(":")[0])
