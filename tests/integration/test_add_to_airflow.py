"""The wheels have the DAGs, and the page "Add it to your Airflow" is run as it is written, from the wheels on."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import duckdb
import pytest

from support.airflow_runs import KINDS
from support.distributions import build_wheels, environment_of
from support.paths import PROJECT, SAMPLE

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
PAGE = PROJECT / "docs" / "airflow.md"


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return build_wheels(tmp_path_factory.mktemp("wheels"))


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Nothing of this checkout, and nothing that is set for other tests."""
    kept = {
        k: v
        for k, v in os.environ.items()
        if not k.startswith(("EVERMODEL_", "AIRFLOW", "MLFLOW_", "PYTHON"))
    }
    return {
        **kept,
        "AIRFLOW_HOME": str(tmp_path / "airflow"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PIP_NO_INDEX": "1",
    }


def test_the_unpacked_wheels_build_every_dag(
    wheels: list[Path], tmp_path: Path, environment: dict[str, str]
) -> None:
    for wheel in wheels:
        zipfile.ZipFile(wheel).extractall(tmp_path / "unpacked")
    probe = (
        "import json, evermodel, evermodel_provider as p\n"
        f"dags = p.build_dags({str(PROJECT / 'include' / 'models')!r})\n"
        "print(json.dumps([evermodel.__file__, p.__file__, *sorted(dags)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe],
        env={**environment, "PYTHONPATH": str(tmp_path / "unpacked")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    domain, provider, *ids = json.loads(done.stdout.splitlines()[-1])
    assert {str(Path(file).parents[1]) for file in (domain, provider)} == {str(tmp_path / "unpacked")}
    shared = {"digest_data-science", "evermodel_messages", "evermodel_guard"}
    models = ("flights", "flights_history")
    assert set(ids) == {f"{kind}_{model}" for kind in KINDS for model in models} | shared


@pytest.mark.slow
def test_the_page_from_the_wheels_to_a_champion(
    wheels: list[Path], tmp_path: Path, environment: dict[str, str]
) -> None:
    folder = tmp_path / "there"
    folder.mkdir()
    table = f"SELECT * RENAME (late AS returned, flight_id AS order_id) FROM '{SAMPLE}'"
    duckdb.execute(f"COPY ({table}) TO '{folder / 'orders.parquet'}'")
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.S | re.M)
    assert len(blocks) == 5
    script = "\n".join(["set -euo pipefail", "airflow db migrate", *blocks])

    done = subprocess.run(
        ["bash", "-c", script],
        cwd=folder,
        env={
            **environment,
            "PATH": f"{environment_of(None, tmp_path / 'venv')}:{environment['PATH']}",
            "PIP_FIND_LINKS": str(wheels[0].parent),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "airflow-provider-evermodel" in done.stdout
    assert f"{tmp_path}/airflow/dags/evermodel_dags.py: written" in done.stdout
    assert "orders: version 1 is champion" in done.stdout
    assert str(PROJECT) not in (tmp_path / "airflow" / "dags" / "evermodel_dags.py").read_text()
