from __future__ import annotations

from airflow_world import claim_airflow_home

claim_airflow_home()
