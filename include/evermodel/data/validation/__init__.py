"""Validation: requirements on a snapshot before training."""

from evermodel.data.validation.report import CheckResult, ValidationReport
from evermodel.data.validation.validator import Validation, validate

__all__ = [
    "CheckResult",
    "Validation",
    "ValidationReport",
    "infer",
    "leakage_hints",
    "point_in_time",
    "profile",
    "quarantine",
    "report",
    "scan",
    "schema_file",
    "validate",
    "validator",
]
