"""Validation: what a snapshot must look like before anything is trained on it."""

from evermodel.validation.report import Check, ValidationReport
from evermodel.validation.validator import Validation, validate

__all__ = ["Check", "Validation", "ValidationReport", "validate"]
