"""Backtest: what retrain policies would have done with a model's own history."""
