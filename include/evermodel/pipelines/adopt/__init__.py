"""Adopt a model that somebody else trains and serves: what the gate and the drift checks would have decided on its past."""

__all__ = ["decisions", "report", "scores", "versions"]
