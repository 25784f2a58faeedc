"""The fast path: a fitted pipeline as a float64 ONNX graph, kept only when it gives the same answers."""

__all__ = ["batch", "export_if_equal", "runtime"]
