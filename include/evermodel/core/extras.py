"""Extras: which one brings each optional library, and the error that names the missing one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from evermodel.core.errors import MissingExtraError

# What each extra of pyproject.toml is installed for, by import name; a library of several extras counts as the first's.
EXTRAS: Mapping[str, tuple[str, ...]] = {
    "train": (
        "deltalake",
        "duckdb",
        "fairlearn",
        "filelock",
        "fsspec",
        "matplotlib",
        "mlflow",
        "numpy",
        "optuna",
        "pandas",
        "prometheus_client",
        "pyarrow",
        "scipy",
        "sklearn",
        "skops",
        "threadpoolctl",
    ),
    "serve": ("arro3", "fastapi", "starlette", "uvicorn"),
    "sklearn": ("pandas", "scipy", "sklearn", "skops"),
    "mlflow": ("mlflow",),
    "delta": ("deltalake",),
    "evidently": ("evidently",),
    "dvc": ("dvc",),
    "onnx": ("onnx", "onnxruntime", "skl2onnx"),
    "fast": ("numba",),
    "boosting": ("lightgbm", "xgboost", "catboost"),
    "torch": ("torch",),
    "ibis": ("ibis",),
    "postgres": ("psycopg",),
    "redis": ("redis",),
    "spark": ("pyspark",),
    "s3": ("s3fs", "dvc_s3", "obstore"),
    "gcs": ("gcsfs", "dvc_gs", "obstore"),
    "azure": ("adlfs", "dvc_azure", "obstore"),
    "pandera": ("pandera",),
    "demo": ("psutil",),
}
# Of these URLs, the extra that lets them be opened.
OF_SCHEME: Mapping[str, str] = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gcs",
    "gcs": "gcs",
    "az": "azure",
    "abfs": "azure",
    "abfss": "azure",
    "adl": "azure",
}


def install_command(extras: Sequence[str]) -> str:
    """Return what a person types to install extras.

    >>> install_command(["train", "dvc"])
    'pip install "evermodel[train,dvc]"'
    """
    return f'pip install "evermodel[{",".join(extras)}]"'


def is_installed(library: str) -> bool:
    """Return whether a library is installed here, without importing it."""
    return find_spec(library) is not None


def extra_of(library: str) -> str | None:
    """Return the extra that brings a library, by its import name; None of a library that no extra brings."""
    return next((extra for extra, names in EXTRAS.items() if library in names), None)


@contextmanager
def named_extras(*wanted: str) -> Iterator[None]:
    """Raise the failed import of an optional library as the error that names its extra.

    Parameters
    ----------
    wanted
        The extras to name, where the work needs more than the library that was looked for first.

    Raises
    ------
    MissingExtraError
        A library of an extra is not installed. Any other `ImportError` is raised unchanged.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        library = (error.name or "").partition(".")[0]
        extra = extra_of(library)
        if extra is None or is_installed(library):  # installed, but broken inside
            raise
        raise MissingExtraError(
            f"{library} is not installed in this environment", install_command(wanted or (extra,))
        ) from error
