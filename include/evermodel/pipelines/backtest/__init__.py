"""Backtest: a model's own history under retrain policies."""

__all__ = ["compare", "history", "plan", "policies", "replay", "run", "text"]
