"""A fitted pipeline as a float64 ONNX graph, stored only if it gives the same answers."""

__all__ = ["batch", "export_if_equal", "runtime"]
