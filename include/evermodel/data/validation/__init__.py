"""Validation: what a snapshot must look like before anything is trained on it."""

from evermodel.data.validation.report import Check, ValidationReport
from evermodel.data.validation.validator import Validation, validate

__all__ = ["Check", "Validation", "ValidationReport", "validate"]
