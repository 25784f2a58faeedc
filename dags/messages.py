"""The kind messages of evermodel's DAGs (Airflow); what they do: plugins/evermodel_provider/dags/messages.py."""

from evermodel_provider import build_dags

globals().update(build_dags(kinds=["messages"]))
