#!/bin/sh
# Writes .env with secrets of your own for docker-compose.yaml. What is there already stays, so it may be run again.
set -eu
cd "$(dirname "$0")/../.."
umask 077
touch .env
secret() { # name, bytes: a random secret, unless the file has one
    grep -q "^$1=" .env || printf '%s=%s\n' "$1" "$(python3 -c "import secrets; print(secrets.token_hex($2))")" >> .env
}
for name in POSTGRES_PASSWORD AIRFLOW_DB_PASSWORD EVERMODEL_DB_PASSWORD MLFLOW_DB_PASSWORD SERVING_DB_PASSWORD REDIS_PASSWORD S3_SECRET_KEY S3_SERVING_KEY S3_EVIDENTLY_KEY MLFLOW_PASSWORD MLFLOW_AIRFLOW_PASSWORD MLFLOW_SERVING_PASSWORD AIRFLOW_ADMIN_PASSWORD GRAFANA_PASSWORD EVERMODEL_SERVING_TOKEN SERVING_AIRFLOW_TOKEN SERVING_PROMETHEUS_TOKEN; do
    secret "$name" 20
done
for name in AIRFLOW_SECRET_KEY AIRFLOW_JWT_SECRET MLFLOW_SECRET_KEY; do
    secret "$name" 64
done
grep -q '^AIRFLOW_FERNET_KEY=' .env || printf 'AIRFLOW_FERNET_KEY=%s\n' \
    "$(python3 -c 'import base64, os; print(base64.urlsafe_b64encode(os.urandom(32)).decode())')" >> .env
grep -q '^EVERMODEL_SERVED=' .env || echo 'EVERMODEL_SERVED=flights' >> .env
# Prometheus reads its token from a file; its process is not the one who owns this one.
mkdir -p .secrets
sed -n 's/^SERVING_PROMETHEUS_TOKEN=//p' .env > .secrets/serving_token
chmod 755 .secrets && chmod 644 .secrets/serving_token
echo "Written: .env (yours alone to read) and .secrets/serving_token."
echo "Airflow: user admin, password as AIRFLOW_ADMIN_PASSWORD says. MLflow: user evermodel, MLFLOW_PASSWORD. Grafana: user admin, GRAFANA_PASSWORD."
