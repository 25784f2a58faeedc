"""The protocols of predictions: each makes rows of a request's body, and a body of the answers.

`routes` has what stands beside predictions: health, readiness, metadata.
"""

__all__ = ["addresses", "codec", "invocations", "open_inference", "predict", "routes", "tensors"]
