"""Validation: what a snapshot must look like before anything is trained on it."""

from evermodel.data.validation.report import CheckResult, ValidationReport
from evermodel.data.validation.validator import Validation, validate

__all__ = [
    "CheckResult",
    "Validation",
    "ValidationReport",
    "infer",
    "leakage_hints",
    "profile",
    "quarantine",
    "report",
    "scan",
    "schema",
    "schema_file",
    "validate",
    "validator",
]
