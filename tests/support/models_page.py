"""The Models page with a store of our own, for one user after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from evermodel.cli.local_stack.ports import free_port
from evermodel.core.settings import Settings
from evermodel.reports.overview.overview import Overview
from evermodel.reports.overview.records import Record
from evermodel.reports.overview.store import StoredModel
from evermodel.reports.overview.summary import summarise

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(1)>"


class ModelsPage:
    """The page for one user after the other; MLflow is away, the store holds what it said before."""

    def __init__(self, home: Path) -> None:
        from fastapi import FastAPI
        from fastapi.testclient import TestClient

        from evermodel_provider.ui.app import build_app

        self.text = EVIL
        self.settings = Settings(
            home=home, lake=home, models=home, dvc_remote="", airflow_url="", tracking_uri=f"http://127.0.0.1:{free_port()}",
        )  # fmt: skip
        self.page = build_app(lambda: self.settings)
        airflow = FastAPI()
        airflow.mount("/evermodel", self.page)
        self.client = TestClient(airflow)
        self.overview: Overview = self.page.state.overview

    def keep(self, *models: str, decision: dict[str, Any] | None = None, **facts: Any) -> None:
        """Store models as if MLflow had told of them, each with one day and one decision."""
        store = self.overview.store
        store.note(source=self.settings.tracking_uri, layout="3", synced="1e9", reached="1e9")
        store.keep_models({name: StoredModel(name, {"champion": "1"}, {}, 1) for name in models})
        gate = {
            "name": self.text,
            "verdict": "fail",
            "value": 0.1,
            "threshold": self.text,
            "detail": self.text,
        }
        for name in models:
            day = {
                "version": "1", "severity": "critical", "severities": {"feature": "critical"}, "metric": self.text, "value": 0.7, "low": 0.6,
                "high": 0.8, "promised": 0.75, "reasons": {"drift": self.text}, "columns": [[self.text, "feature", "PSI", 0.4, "critical"]], "answer": self.text,
                "transitions": [], "run": "r1", "experiment": f"{name}-2", "run_key": "k", "status": "FINISHED", "rows": 10, **facts,
            }  # fmt: skip
            retrain = {
                "as_of": "2026-03-02", "reason": self.text, "verdict": "better", "ship": "true", "candidate": self.text, "metric": "auc", "forced": "false",
                "outcome": "deployed", "version": "1", "window": "", "value": 0.7, "against": 0.6, "gain": 0.1, "gain_low": 0.0, "gain_high": 0.2,
                "decision": {"gates": [gate], "reason": self.text, "challenger": [0.7, 0.6, 0.8]}, "airflow_run": f'x"{self.text}', "run": "r2",
                "experiment": f"{name}-1", "run_key": "k2", "status": "FINISHED", "began": "2026-03-02T06:00:00+00:00",
            } | (decision or {})  # fmt: skip
            records = [Record(f"{name}-d", "drift", "2026-03-02", 1, day), Record(f"{name}-r", "retrain", "2026-03-02", 1, retrain)]  # fmt: skip
            store.keep_runs({f"{name}-1": name, f"{name}-2": name}, records)
            store.keep_summaries({name: summarise(store, name)})
            store.note_loaded(name, 4e9)

    def as_user(self, role: str | None) -> None:
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
        from airflow.api_fastapi.core_api.security import get_user

        self.page.dependency_overrides[get_user] = lambda: SimpleAuthManagerUser(username="ada", role=role)

    def get(self, path: str, **headers: str) -> Any:
        return self.client.get(f"/evermodel{path}", headers=headers)
