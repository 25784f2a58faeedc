"""Airflow, MLflow and serving together on one machine, started and stopped as one."""

from evermodel.stack.airflow_api import AirflowApi
from evermodel.stack.local import LocalStack
from evermodel.stack.ports import Ports
from evermodel.stack.processes import Service, Supervisor

__all__ = ["AirflowApi", "LocalStack", "Ports", "Service", "Supervisor"]
