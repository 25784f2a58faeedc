"""Preload of heavy libraries in the scheduler, so that forked workers need not load them for each task."""

from __future__ import annotations

import importlib
import logging
import os
import sys

_STEPS = ("request", "extract", "validate", "train", "evaluate", "approve", "register", "deploy", "finish")
# Only imported, never used: a library with running OpenMP threads hangs in forked processes.
LIBRARIES = (
    "evermodel",  # before Arrow, because it configures Arrow's memory
    "pandas",
    "pyarrow.parquet",
    "pyarrow.dataset",
    "narwhals._pandas_like.namespace",  # scikit-learn's access to frames
    "duckdb",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "scipy.stats",
    "skops.io",
    "mlflow",
    "mlflow.sklearn",
    "mlflow.pyfunc.loaders",
    "mlflow.tracing.processor.base_mlflow",
    "mlflow.tracking.request_auth.registry",
    "mlflow.tracking.request_header.registry",
    "git",  # MLflow reads the commit of every run with it; its import starts a process
    "evidently",
    "evidently.presets",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "dvc.repo.init",
    "dvc.repo.plots",
    "dvc.repo.datasets",
    "networkx",  # DVC's graph of stages
    "ruamel.yaml",  # DVC's YAML writer
    "onnx",
    "onnxruntime",
    "evermodel.modeling.onnx.kernel",  # Numba, and what it compiled: most of a second for a large day's scoring
    "slack_sdk",
    "airflow.providers.slack.hooks.slack",
    "jinja2.ext",
    "airflow.sdk",
    "airflow.sdk.execution_time.supervisor",
    "airflow.sdk.execution_time.task_runner",
    "airflow.dag_processing.dagbag",  # parses the file of a DAG in every task
    # A fifth of a second for each task of a retrain; a new release of this package needs a new scheduler anyway.
    "evermodel.pipelines.retrain",
    "evermodel.modeling.scoring",
    "evermodel.monitoring",
    "evermodel_provider.dags.build",
    "evermodel_provider.dags.retrain",
    "evermodel_provider.sensors.data",
    *(f"evermodel_provider.operators.{step}" for step in _STEPS),
)
# Cached here for every task: they read the metadata of each installed package, a third to half a second.
QUESTIONS = (
    "evermodel.core.environment:installed_packages",
    "mlflow.utils.requirements_utils:_init_modules_to_packages_map",  # for each model that is stored
)


def preload(libraries: tuple[str, ...] = LIBRARIES, questions: tuple[str, ...] = QUESTIONS) -> list[str]:
    """Import libraries if this process is a scheduler and ``EVERMODEL_PRELOAD=1``; return those that were imported.

    Parameters
    ----------
    libraries
        Names of modules; one that cannot be imported is logged and left out.
    questions
        Functions, as ``module:function``, that cache their result.
    """
    if os.environ.get("EVERMODEL_PRELOAD") != "1" or sys.argv[1:2] != ["scheduler"]:
        return []
    from evermodel.registry.tracking import configure_mlflow_process

    configure_mlflow_process()  # before the import of MLflow, which sends telemetry otherwise
    found = [name for name in libraries if _imported(name)]
    for question in questions:
        module, _, function = question.partition(":")
        if _imported(module):
            getattr(sys.modules[module], function, lambda: None)()
    return found


def _imported(name: str) -> bool:
    try:
        importlib.import_module(name)
    except ImportError as error:
        logging.getLogger(__name__).warning("not preloaded: %s (%s)", name, error)
        return False
    return True
