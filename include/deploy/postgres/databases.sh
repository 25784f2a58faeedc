#!/bin/sh
# Makes one user and database for Airflow and one for MLflow, in a fresh PostgreSQL.
set -eu
for name in airflow mlflow; do
    psql --set ON_ERROR_STOP=1 --username postgres --set password="$POSTGRES_PASSWORD" --set name="$name" <<'SQL'
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name";
SQL
done
psql --set ON_ERROR_STOP=1 --username postgres --command 'CREATE DATABASE mlflow_auth OWNER mlflow'
