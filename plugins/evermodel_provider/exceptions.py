"""Translate the domain's errors into Airflow's: permanent ones fail at once, the others are retried."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from airflow.providers.common.compat.sdk import AirflowFailException

from evermodel.core.errors import PermanentError
from evermodel.core.extras import named_extras


@contextmanager
def airflow_errors() -> Iterator[None]:
    """Raise permanent errors of the domain, and missing extras, as `AirflowFailException`, which no retry follows."""
    try:
        with named_extras():
            yield
    except PermanentError as error:
        raise AirflowFailException(str(error)) from error
