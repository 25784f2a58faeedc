"""Models: estimators, fitting, search, the model store, ONNX graphs and scoring.

Imports `registry` and what stands below it.
"""

__all__ = [
    "estimators",
    "fitting",
    "foreign",
    "model_store",
    "onnx",
    "scoring",
    "skops_files",
    "tasks",
    "training",
]
