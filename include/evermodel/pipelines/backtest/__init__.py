"""Backtest: what retrain policies would have done with a model's own history."""

__all__ = ["compare", "example", "plan", "policies", "record", "replay", "run", "text"]
