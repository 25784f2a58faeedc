"""Answers without pandas: a fitted pipeline as a float64 ONNX graph, stored only if it gives the same answers."""

__all__ = ["batch", "encoded", "encoding", "export", "export_if_equal", "graph", "runtime"]
