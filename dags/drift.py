"""The kind drift of evermodel's DAGs (Airflow); what they do: plugins/evermodel_provider/dags/drift.py."""

from evermodel_provider import build_dags

globals().update(build_dags(kinds=["drift"]))
