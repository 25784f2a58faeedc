"""The model spec: one YAML file declares one model."""

from evermodel.spec.load import (
    SpecProblem,
    load_spec,
    load_specs,
    spec_path,
)
from evermodel.spec.model import CandidateSpec, ModelSpec

__all__ = ["CandidateSpec", "ModelSpec", "SpecProblem", "load_spec", "load_specs", "spec_path"]
