from __future__ import annotations

from support.airflow_runs import claim_airflow_home

claim_airflow_home()
