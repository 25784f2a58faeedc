"""Raises every broken model spec as an import error of this file; the other models' DAGs are unaffected (airflow DAG)."""

from __future__ import annotations

from evermodel.core.errors import SpecError
from evermodel.spec import load_specs

_, problems = load_specs()
if problems:
    raise SpecError("\n\n".join(str(problem.error) for problem in problems))
