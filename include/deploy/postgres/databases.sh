#!/bin/sh
# Makes one user and its databases for Airflow, evermodel and MLflow each; none can open another's. Serving has a user of its own
# in evermodel's, whose rights serving_rights.py grants. May be run again, which sets the passwords: docker compose exec postgres sh /docker-entrypoint-initdb.d/databases.sh
set -eu
login() { # user, password, databases
    user=$1 password=$2
    shift 2
    psql --set ON_ERROR_STOP=1 --username postgres --set name="$user" --set password="$password" <<'SQL'
SELECT format('CREATE ROLE %I LOGIN', :'name') WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'name') \gexec
ALTER ROLE :"name" PASSWORD :'password';
SQL
    for database in "$@"; do
        psql --set ON_ERROR_STOP=1 --username postgres --set name="$user" --set database="$database" <<'SQL'
SELECT format('CREATE DATABASE %I OWNER %I', :'database', :'name')
    WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'database') \gexec
REVOKE ALL ON DATABASE :"database" FROM PUBLIC;
SQL
    done
}
login airflow "$AIRFLOW_DB_PASSWORD" airflow
login evermodel "$EVERMODEL_DB_PASSWORD" evermodel
login mlflow "$MLFLOW_DB_PASSWORD" mlflow mlflow_auth
login serving "$SERVING_DB_PASSWORD"
psql --set ON_ERROR_STOP=1 --username postgres --command 'GRANT CONNECT ON DATABASE evermodel TO serving'
