"""The section `source`: where a model's rows come from."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evermodel.spec.parts import Section


class FilesSource(Section):
    """Parquet or CSV files, optionally seen through a query."""

    kind: Literal["files"] = "files"
    path: str = Field(
        min_length=1, description="File, folder glob or URL; ${NAME} takes environment variables."
    )
    query: str | None = Field(
        None, description="SQL (DuckDB) over the table `source`; without it, every row and column."
    )
