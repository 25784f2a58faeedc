"""Triggers: waits without a worker slot."""
