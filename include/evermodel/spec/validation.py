"""The section `validation`: requirements on a snapshot before training."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field, field_validator

from evermodel.spec.parts import Share, SpecSection

CheckKind = Literal[
    "missing_column",
    "type",
    "rows",
    "duplicate_id",
    "label",
    "null_share",
    "infinite",
    "not_a_number",
    "range",
    "category",
    "category_share",
    "variant",
    "freshness",
    "future",
    "constant",
    "leakage",
    "id_like",
    "schema",
    "row_change",
    "null_jump",
    "vanished_category",
    "mean_shift",
    "point_in_time",
]
CheckSeverity = Literal["off", "warn", "quarantine", "fail"]
CHECK_KINDS: tuple[str, ...] = get_args(CheckKind)
# Checks of single rows; only these rows can be quarantined.
ROW_KINDS = (
    "duplicate_id",
    "infinite",
    "not_a_number",
    "range",
    "category",
    "variant",
    "future",
)


class ValidationSpec(SpecSection):
    """Checks of a snapshot; a fatal one stops the run before training."""

    min_rows: int = Field(500, ge=1, description="Minimum rows of the snapshot.")
    max_null_share: Share = Field(0.5, description="Largest share of nulls in any feature.")
    max_null_share_by_column: dict[str, Share] = Field(default_factory=dict)
    max_duplicate_share: Share = Field(0.0, description="Largest share of rows with a duplicate id.")
    min_class_share: Share = Field(0.005, description="Smallest share of the rarer class.")
    ranges: dict[str, tuple[float | None, float | None]] = Field(
        default_factory=dict, description="Lowest and highest value of a column; null: no limit on that side."
    )
    infer_schema: bool = Field(
        True, description="Write the schema file from the first valid snapshot, if there is none."
    )
    max_quarantine_share: Share = Field(
        0.05, description="Largest share of rows that may be quarantined; above it the snapshot fails."
    )
    max_recent_quarantine_share: Share = Field(
        0.2,
        description="Largest share of the newest day, of the newest week, and of the validation and test parts"
        " that may be quarantined; above it the snapshot fails.",
    )
    max_row_change: Share = Field(
        0.5, description="Largest share of rows that may be gone since the last good snapshot."
    )
    max_null_jump: Share = Field(
        0.2, description="Largest growth of a column's share of nulls since the last good snapshot."
    )
    max_mean_shift: float = Field(
        1.0, gt=0, description="Largest change of a mean since then, in standard deviations."
    )
    max_unknown_share: Share = Field(
        0.2, description="Largest share of rows with categories missing from the schema file."
    )
    severity: dict[str, CheckSeverity] = Field(
        default_factory=dict,
        description="Severity of a check, by kind (`range`) or by kind and column (`range.temp`).",
    )

    @field_validator("severity", mode="before")
    @classmethod
    def _off(cls, value: Any) -> Any:
        """Read an unquoted ``off``, which YAML reads as false."""
        if not isinstance(value, dict):
            return value
        return {key: "off" if severity is False else severity for key, severity in value.items()}

    @field_validator("severity")
    @classmethod
    def _known_kinds(cls, value: dict[str, CheckSeverity]) -> dict[str, CheckSeverity]:
        for key, severity in value.items():
            kind = key.split(".", maxsplit=1)[0]
            if kind not in CHECK_KINDS:
                raise ValueError(f"{kind} is not a check (allowed: {', '.join(CHECK_KINDS)})")
            if severity == "quarantine" and kind not in ROW_KINDS:
                raise ValueError(f"{kind} identifies no rows to quarantine; use off, warn or fail")
        return value

    @property
    def columns_of_severity(self) -> list[str]:
        """The columns that `severity` names."""
        return [key.split(".", maxsplit=1)[1] for key in self.severity if "." in key]
