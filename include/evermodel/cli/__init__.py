"""The command line: all steps without Airflow.

Imports every package; no package imports it.
"""

from evermodel.cli.root import app, main

__all__ = ["app", "exit_codes", "local_stack", "main", "output"]
