"""The section `score`: where batch scoring runs, and which table it writes besides the prediction log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import SpecSection


class ScoreSpec(SpecSection):
    """Batch scoring. The prediction log gets every answer in any case."""

    engine: Literal["local", "spark"] = Field(
        "local", description="Score in the task's own process, or as a Spark job."
    )
    spark: str | None = Field(
        None, min_length=1, description="Spark's master or `sc://` address; null: Spark's own settings."
    )
    at_once: int = Field(4, ge=1, description="Days of one run scored at the same time.")
    connection: str | None = Field(
        None, min_length=1, description="Airflow connection id of a database to write the answers to."
    )
    table: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$",
        description="Table there, created if missing; a dot separates the schema.",
    )

    @model_validator(mode="after")
    def _both(self) -> ScoreSpec:
        if (self.connection is None) != (self.table is None):
            raise ValueError("`connection` and `table` must be set together")
        if self.spark is not None and self.engine != "spark":
            raise ValueError("`spark` needs `engine: spark`")
        return self
