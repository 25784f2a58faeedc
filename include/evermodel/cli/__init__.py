"""The command line: what a person can do without opening Airflow."""

from evermodel.cli.root import app, main

__all__ = ["app", "main"]
