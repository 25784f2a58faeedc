#!/bin/bash
# Brings Airflow's database up to date and makes what the DAGs expect: pools, and the example's data. May be run again.
set -euo pipefail
airflow db migrate
airflow pools set evermodel_training "${EVERMODEL_TRAINING_SLOTS:-2}" "Trainings and searches that run at once" > /dev/null
airflow pools set evermodel_registry 1 "Steps that move aliases or traffic, one at a time" > /dev/null
# Whoever has removed the example's spec needs no data for it.
if [ -f "$EVERMODEL_MODELS/flights.yaml" ]; then
    python -m evermodel.data.examples.flights "$EVERMODEL_DATA" \
        || echo "The example's data was not written: retrain_flights will not find $EVERMODEL_DATA/flights.parquet" >&2
fi
