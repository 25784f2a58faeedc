"""The published JSON Schema of the model spec."""

from __future__ import annotations

from typing import Any

from evermodel.spec.model import ModelSpec


def json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) that editors use to complete and check a spec."""
    schema = ModelSpec.model_json_schema(mode="validation")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "evermodel model spec",
        **{key: value for key, value in schema.items() if key != "title"},
    }
