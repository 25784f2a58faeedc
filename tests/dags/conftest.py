from __future__ import annotations

import pytest

from support.airflow_runs import claim_airflow_home

claim_airflow_home()


@pytest.fixture
def without_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the drawing of the decision page, a third of a retrain's time; its own tests draw it."""
    monkeypatch.setattr("evermodel.pipelines.evaluate.record_evidence", lambda *args: None)
