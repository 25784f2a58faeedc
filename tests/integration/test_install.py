"""`make test-install`: both wheels in fresh environments, for each Airflow and Python, and under Amazon MWAA's pins."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import duckdb
import pytest

from support.distributions import build_wheels
from support.fresh_environment import FreshEnvironment
from support.guides import examples
from support.paths import PROJECT, SAMPLE

pytestmark = [pytest.mark.install, pytest.mark.timeout(1800)]
CONSTRAINTS = PROJECT / "tests" / "data" / "constraints"
PAIRS = [(airflow, python) for airflow in ("3.1", "3.2", "3.3") for python in ("3.11", "3.12", "3.13")]
# Airflow 3.2 runs no task with newer ones, and does not say so; Amazon's pins are of these, too.
OLDER = {"3.2": ["cadwyn<7", "fastapi<0.137", "starlette<1", "svcs<26"]}
# Beyond Airflow's own in distributions and megabytes, and in all.
MOST_ADDED, MOST_MEGABYTES, MOST_IN_ALL = 12, 58, 260
BESIDE = [
    *(f"apache-airflow-providers-{name}" for name in ("google", "amazon", "snowflake", "databricks")),
    "astronomer-cosmos",
]
IMPORTS = """
import importlib, pkgutil, warnings
warnings.simplefilter("ignore")
import evermodel_provider
for module in pkgutil.walk_packages(evermodel_provider.__path__, "evermodel_provider."):
    importlib.import_module(module.name)
"""
FIRST_RETRAIN = """
set -euo pipefail
evermodel init orders.parquet --label returned
evermodel check --files-only
evermodel dags write
airflow dags reserialize
airflow dags list-import-errors
airflow dags test retrain_orders 2014-01-03
evermodel status orders
"""
# Answers the form as Airflow's web page does, once a run waits for it.
ANSWER = """
import time
from airflow.api_fastapi.app import init_auth_manager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.models.hitl import HITLDetail
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

init_auth_manager()
waiting = select(TaskInstance).where(TaskInstance.state == "awaiting_input")
for _ in range(3000):
    with create_session() as session:
        if task := session.scalars(waiting).first():
            form = session.scalars(select(HITLDetail).where(HITLDetail.ti_id == task.id)).one()
            fields = {name: param["value"] for name, param in form.params.items()}
            payload = UpdateHITLDetailPayload(chosen_options=["Approve"], params_input=fields)
            user = SimpleAuthManagerUser(username="boss", role="admin")
            update_hitl_detail(task.dag_id, task.run_id, task.task_id, payload, user, session)
            break
    time.sleep(0.2)
"""
# What Airflow's environment lacks is in the other one. No challenger reaches the floor of the environment `strict`.
THIN_RETRAIN = """
set -euo pipefail
"$TRAINING/evermodel" init orders.parquet --label returned
sed -i 's/^approval: auto/approval: manual/' models/orders.yaml
printf '\napprovers: [boss]\nenvironments: {strict: {gate: {floor: 0.99}}}\n' >> models/orders.yaml
evermodel check --files-only
evermodel dags write
cp own_orders.py airflow/dags/
airflow dags reserialize
airflow dags list-import-errors
EVERMODEL_ENVIRONMENT=strict airflow dags test own_orders 2014-01-03
"$TRAINING/evermodel" status orders || test $? = 4
python answer.py &
airflow dags test retrain_orders 2014-01-03
wait
airflow dags test score_orders 2014-01-01
airflow dags test rollback_orders --conf '{"reason": "the second interpreter knows"}' || test $? = 1
"$TRAINING/evermodel" status orders
"""


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    build_wheels(folder)
    return folder


@pytest.mark.parametrize(("airflow", "python"), PAIRS, ids=lambda version: version)
def test_a_fresh_airflow_takes_the_provider_and_retrains(
    airflow: str, python: str, wheels: Path, tmp_path: Path
) -> None:
    environment = FreshEnvironment(tmp_path / "venv", python, wheels)
    wanted = [f"apache-airflow=={airflow}.*", *OLDER.get(airflow, ())]
    _thin(environment, wanted, tmp_path)
    environment.install(*wanted, "evermodel[train,dvc]")
    _retrain(environment, FIRST_RETRAIN, tmp_path, {})


@pytest.mark.parametrize("airflow", ["3.2.1", "3.3.1"])
def test_the_provider_installs_under_the_pins_of_amazon_mwaa_alone_and_beside_others(
    airflow: str, wheels: Path, tmp_path: Path
) -> None:
    environment = FreshEnvironment(tmp_path / "venv", "3.12", wheels)
    wanted = [f"apache-airflow=={airflow}", "--constraints", str(CONSTRAINTS / f"mwaa-{airflow}.txt")]
    _thin(environment, wanted, tmp_path)
    environment.install(*wanted, "airflow-provider-evermodel", "evermodel[train,dvc]", *BESIDE)
    found = environment.size()
    print(f"beside {', '.join(BESIDE)}: {len(found.names)} distributions, {found.megabytes} MB")
    _imports(environment, tmp_path, *BESIDE)
    _retrain(environment, FIRST_RETRAIN, tmp_path, {})


def test_a_thin_worker_retrains_with_an_approval_and_scores_with_the_work_in_a_second_interpreter(
    wheels: Path, tmp_path: Path
) -> None:
    worker = FreshEnvironment(tmp_path / "worker", "3.12", wheels)
    _thin(worker, ["apache-airflow==3.3.*"], tmp_path)
    training = FreshEnvironment(tmp_path / "training", "3.11", wheels)
    training.install("evermodel[train,dvc]")
    found = training.size()
    print(f"evermodel[train,dvc], Python 3.11: {len(found.names)} distributions, {found.megabytes} MB")
    elsewhere = {
        "EVERMODEL_STEP_PYTHON": str(training.programs / "python"),
        "TRAINING": str(training.programs),
        "EVERMODEL_REGISTRY_PREFIX": "main.retail",
    }
    (own,) = [
        one for one in examples("python") if one.text.startswith("from evermodel_provider import retrain")
    ]
    (tmp_path / "own_orders.py").write_text(own.text)
    (tmp_path / "answer.py").write_text(ANSWER)
    said = _retrain(worker, THIN_RETRAIN, tmp_path, elsewhere)
    assert f"Step train runs in {training.programs}/python" in said
    assert "the retrain kept the champion" in said
    assert "no champion yet" in said
    assert "by boss" in said
    assert "Scored " in said
    assert "version 1 is the first champion" in said  # so that there is nothing to roll back to


def _thin(environment: FreshEnvironment, airflow: list[str], folder: Path) -> None:
    """Install Airflow, then the provider beside it, and hold what the provider adds."""
    environment.install(*airflow)
    before = environment.size()
    environment.install(*airflow, "airflow-provider-evermodel")
    after = environment.size()
    added = sorted(after.names - before.names)
    print(
        f"\n{' '.join(airflow[:1])}: {before.megabytes} MB; with the provider {after.megabytes} MB, {len(added)} more"
    )
    assert len(added) <= MOST_ADDED, added
    assert after.megabytes - before.megabytes <= MOST_MEGABYTES
    assert after.megabytes <= MOST_IN_ALL
    _imports(environment, folder)


def _imports(environment: FreshEnvironment, folder: Path, *others: str) -> None:
    """Import every module of the provider, and have Airflow list it beside others."""
    variables = _variables(folder)
    imported = environment.run("python", "-c", IMPORTS, folder=folder, **variables)
    assert imported.returncode == 0, imported.stderr[-3000:]
    listed = environment.run("airflow", "providers", "list", folder=folder, **variables)
    for name in ("airflow-provider-evermodel", *others):
        assert name in listed.stdout, listed.stderr[-3000:]


def _retrain(environment: FreshEnvironment, script: str, folder: Path, more: Mapping[str, str]) -> str:
    """Go from a table to a champion by `airflow dags test`, and return what was said."""
    table = f"SELECT * RENAME (late AS returned, flight_id AS order_id) FROM '{SAMPLE}'"
    duckdb.execute(f"COPY ({table}) TO '{folder / 'orders.parquet'}'")
    variables = {**_variables(folder), **more}
    migrated = environment.run("airflow", "db", "migrate", folder=folder, **variables)
    assert migrated.returncode == 0, migrated.stderr[-3000:]
    done = environment.run("bash", "-c", script, folder=folder, **variables)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "orders: version 1 is champion" in done.stdout
    return done.stdout + done.stderr


def _variables(folder: Path) -> dict[str, str]:
    return {
        "AIRFLOW_HOME": str(folder / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "EVERMODEL_HOME": str(folder / "home"),
        "EVERMODEL_MODELS": str(folder / "models"),
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
    }
