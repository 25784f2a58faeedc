"""Airflow, MLflow and serving together on one machine, started and stopped as one."""

from evermodel.cli.local_stack.airflow_api import AirflowApi
from evermodel.cli.local_stack.local import LocalStack
from evermodel.cli.local_stack.ports import Ports
from evermodel.cli.local_stack.processes import Service, Supervisor

__all__ = [
    "AirflowApi",
    "LocalStack",
    "Ports",
    "Service",
    "Supervisor",
    "airflow_api",
    "environment",
    "local",
    "ports",
    "processes",
]
