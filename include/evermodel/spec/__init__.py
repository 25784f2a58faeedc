"""The model spec: one YAML file declares one model.

Imports `core`.
"""

from evermodel.spec.load import SpecProblem, load_spec, load_specs, spec_folder, spec_path
from evermodel.spec.model import CandidateSpec, ModelSpec

__all__ = [
    "CandidateSpec",
    "ModelSpec",
    "SpecProblem",
    "alerts",
    "checks",
    "drift",
    "expressions",
    "feast",
    "features",
    "gate",
    "libraries",
    "load",
    "load_spec",
    "load_specs",
    "model",
    "parts",
    "rollout",
    "source",
    "spec_folder",
    "spec_path",
    "training",
    "window",
]
