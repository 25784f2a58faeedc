"""The ids of evermodel's DAGs: a prefix of the installation, the kind, and the model."""

from __future__ import annotations

import os

MODEL_KINDS = ("retrain", "score", "drift", "rollback", "rollout", "stop_rollout", "backtest")
# How the ids of each kind begin, after the prefix.
_BEGINNINGS = {kind: f"{kind}_" for kind in (*MODEL_KINDS, "digest")} | {
    "guard": "evermodel_guard",
    "messages": "evermodel_messages",
}


def id_prefix() -> str:
    """Return what every DAG id of this installation begins with (``EVERMODEL_DAG_ID_PREFIX``)."""
    return os.environ.get("EVERMODEL_DAG_ID_PREFIX", "").strip()


def dag_id(kind: str, of: str = "") -> str:
    """Return the id of a DAG.

    Parameters
    ----------
    of
        The model, or the team of a digest.

    >>> dag_id("retrain", "churn"), dag_id("guard")
    ('retrain_churn', 'evermodel_guard')
    """
    return f"{id_prefix()}{_BEGINNINGS[kind]}{of}"


def parts_of(dag: str) -> tuple[str, str]:
    """Return kind and model (or team) of a DAG; empty if the id is not of this installation.

    >>> parts_of("stop_rollout_churn"), parts_of("nightly")
    (('stop_rollout', 'churn'), ('', ''))
    """
    prefix = id_prefix()
    rest = dag.removeprefix(prefix)
    kinds = [kind for kind, beginning in _BEGINNINGS.items() if rest.startswith(beginning)]
    if not kinds or not dag.startswith(prefix):
        return "", ""
    return kinds[0], rest.removeprefix(_BEGINNINGS[kinds[0]])
