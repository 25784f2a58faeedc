"""Backtest: a model's own history under retrain policies."""

__all__ = ["compare", "example", "plan", "policies", "record", "replay", "run", "text"]
