"""The section `score`: where batch scoring runs, and where its answers go besides the prediction log."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evermodel.spec.parts import SpecSection


class ScoreSpec(SpecSection):
    """Batch scoring. The prediction log gets every answer in any case."""

    engine: Literal["local", "spark"] = Field(
        "local", description="Score in the task's own process, or as a job of Spark."
    )
    spark: str | None = Field(
        None, min_length=1, description="Spark's master or `sc://` address; null: what Spark's settings say."
    )
    at_once: int = Field(4, ge=1, description="Days of one run that are scored at the same time.")
    connection: str | None = Field(
        None, min_length=1, description="Airflow connection id of a database that gets the answers too."
    )
    table: str | None = Field(
        None,
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)?$",
        description="Table there, made if it is missing; a dot parts it from its schema.",
    )

    @model_validator(mode="after")
    def _both(self) -> ScoreSpec:
        if (self.connection is None) != (self.table is None):
            raise ValueError("`connection` and `table` belong together: name both or none")
        if self.spark is not None and self.engine != "spark":
            raise ValueError("`spark` needs `engine: spark`")
        return self
