"""Links of a task to what it made in MLflow, beside its log in Airflow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk.types import TaskInstanceKey


class StepLink(BaseOperatorLink):
    """Base of the links: the address is the one of this name in the operator's `links`, which its step returned."""

    @property
    def xcom_key(self) -> str:
        """Key of the XCom in which Airflow keeps the address."""
        return f"_link_evermodel_{type(self).__name__}"

    def get_link(self, operator: Any, *, ti_key: TaskInstanceKey) -> str:
        """Return the address; empty if the step made no such thing."""
        return str(operator.links.get(self.name, ""))


class MlflowRunLink(StepLink):
    """The MLflow run of the retrain, the candidate or the day."""

    name = "MLflow run"


class DecisionLink(StepLink):
    """The decision page: every gate with its evidence."""

    name = "Decision"


class ModelVersionLink(StepLink):
    """The version's page in the registry."""

    name = "Model version"


class ReportLink(StepLink):
    """The drift report of the day."""

    name = "Report"
