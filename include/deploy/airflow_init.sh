#!/bin/bash
# Brings Airflow's database up to date and makes what the DAGs expect: the first user and the pools. May be run again.
set -euo pipefail
airflow db migrate
airflow users create --username admin --password "$AIRFLOW_ADMIN_PASSWORD" --role Admin \
    --firstname Admin --lastname Admin --email admin@localhost > /dev/null
airflow pools set evermodel_training "${EVERMODEL_TRAINING_SLOTS:-2}" "Trainings and searches that run at once" > /dev/null
airflow pools set evermodel_registry 1 "Steps that move aliases or traffic, one at a time" > /dev/null
echo "Airflow is set up"
