"""Operators, one for each step of a model's life cycle; each works alone in any DAG."""
