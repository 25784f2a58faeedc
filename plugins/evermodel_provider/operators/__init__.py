"""Operators, one for each step of a model's life; each works alone in any DAG."""
