"""Loads the heavy libraries once in the scheduler, so that the workers it forks need not load them for each task."""

from __future__ import annotations

import importlib
import logging
import os
import sys

# Only imported, never used here: a library that has started its OpenMP threads hangs in forked processes.
LIBRARIES = (
    "evermodel",  # before Arrow, whose memory it sets
    "pandas",
    "pyarrow.parquet",
    "duckdb",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "scipy.stats",
    "skops.io",
    "mlflow",
    "mlflow.sklearn",
    "mlflow.pyfunc.loaders",
    "git",  # MLflow asks it for the commit of every run; its import starts a process
    "evidently",
    "evidently.presets",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "dvc.repo.init",
    "networkx",  # DVC's graph of stages
    "onnx",
    "onnxruntime",
    "evermodel.fastpath.kernel",  # Numba, and what it compiled: most of a second for a large day's scoring
    "slack_sdk",
    "airflow.sdk",
    "airflow.sdk.execution_time.task_runner",
    # A fifth of a second for each task of a retrain; a new release of this package needs a new scheduler anyway.
    "evermodel.retrain",
    "evermodel.scoring",
    "evermodel.monitoring",
)


def preload(libraries: tuple[str, ...] = LIBRARIES) -> list[str]:
    """Import libraries if this process is a scheduler and ``EVERMODEL_PRELOAD=1``.

    Parameters
    ----------
    libraries
        Names of modules; one that cannot be imported is logged and left out.

    Returns
    -------
    The modules that were imported.
    """
    if os.environ.get("EVERMODEL_PRELOAD") != "1" or sys.argv[1:2] != ["scheduler"]:
        return []
    return [name for name in libraries if _imported(name)]


def _imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError as error:
        logging.getLogger(__name__).warning("not preloaded: %s (%s)", name, error)
        return False
    return True
