#!/bin/bash
# Sets Airflow up and makes the first user. May be run again.
set -euo pipefail
bash include/deploy/airflow_setup.sh
python include/deploy/postgres/serving_rights.py
airflow users create --username admin --password "$AIRFLOW_ADMIN_PASSWORD" --role Admin \
    --firstname Admin --lastname Admin --email admin@localhost > /dev/null
echo "Airflow is set up"
