"""Default severity of each kind of check."""

from __future__ import annotations

from dataclasses import dataclass

from evermodel.spec import ModelSpec

DEFAULTS = {
    "missing_column": "fail",
    "type": "fail",
    "rows": "fail",
    "duplicate_id": "fail",
    "label": "fail",
    "null_share": "fail",
    "infinite": "quarantine",
    "not_a_number": "quarantine",
    "range": "quarantine",
    "category": "warn",
    "category_share": "fail",
    "variant": "quarantine",
    "freshness": "fail",
    "future": "quarantine",
    "constant": "warn",
    "leakage": "warn",
    "id_like": "warn",
    "schema": "warn",
    "row_change": "fail",
    "null_jump": "fail",
    "vanished_category": "warn",
    "mean_shift": "warn",
}


@dataclass(frozen=True)
class Severities:
    """Severity by kind, and by kind and column."""

    declared: dict[str, str]

    @classmethod
    def of_spec(cls, spec: ModelSpec) -> Severities:
        """Take what a spec declares."""
        return cls(dict(spec.validation.severity))

    def of(self, kind: str, column: str = "") -> str:
        """Return the severity of one check; a setting for the column takes precedence."""
        return self.declared.get(f"{kind}.{column}") or self.declared.get(kind) or DEFAULTS[kind]
