"""The section `validation`: what a snapshot must look like before anything is trained on it."""

from __future__ import annotations

from pydantic import Field

from evermodel.spec.parts import Section, Share


class ValidationSpec(Section):
    """Checks of a snapshot; a failed one stops the run before training."""

    min_rows: int = Field(500, ge=1, description="Fewest rows that the whole snapshot may have.")
    max_null_share: Share = Field(0.5, description="Largest share of nulls in any feature.")
    max_null_share_by_column: dict[str, Share] = Field(default_factory=dict)
    max_duplicate_share: Share = Field(0.0, description="Largest share of rows whose id is not unique.")
    min_class_share: Share = Field(0.005, description="Smallest share of the rarer class.")
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="Lowest and highest value of a column; null leaves a side open."
    )
