"""A repository of Feast with two feature views, on-demand features and a service, and what they give by plain Python."""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evermodel.spec import ModelSpec
from support.paths import PROJECT
from support.small_spec import small_spec

FEAST_PYTHON = os.environ.get("EVERMODEL_FEAST_PYTHON") or str(PROJECT / ".feast" / "bin" / "python")
needs_feast = pytest.mark.skipif(
    not Path(FEAST_PYTHON).exists(), reason="no Feast: `make feast` has not been run"
)
START = datetime(2024, 3, 1, tzinfo=UTC)
TTL = timedelta(days=2)
APPLY = """
import sys
from datetime import timedelta
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Float64, Int64, String

folder = sys.argv[1]
customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.INT64)
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
spending = FeatureView(
    name="spending", entities=[customer],
    schema=[Field(name="customer", dtype=Int64), Field(name="spent", dtype=Float64), Field(name="orders", dtype=Int64)],
    source=FileSource(path=f"{folder}/spending.parquet", timestamp_field="at", created_timestamp_column="made"),
)
shops = FeatureView(
    name="shops", entities=[shop], ttl=timedelta(days=2),
    schema=[Field(name="shop", dtype=String), Field(name="owner", dtype=String)],
    source=FileSource(path=f"{folder}/shops.parquet", timestamp_field="at"),
)

@on_demand_feature_view(sources=[spending], schema=[Field(name="mean", dtype=Float64)])
def each(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"mean": inputs["spent"] / inputs["orders"]})

service = FeatureService(name="returns", features=[spending, shops[["owner"]], each])
FeatureStore(repo_path=folder).apply([customer, shop, spending, shops, each, service])
"""
READ = """
import json, sys
from feast import FeatureStore
store = FeatureStore(repo_path=sys.argv[1])
keys = json.loads(sys.argv[2])
found = store.get_online_features(store.get_feature_service("returns"), [{"customer": k, "shop": "a"} for k in keys])
print(json.dumps(found.to_dict()))
"""


def feast_repo(folder: Path) -> dict[str, pa.Table]:
    """Write the repository and its data, have Feast apply it, and return the data."""
    draw = random.Random(7)
    data = {
        "rows": feast_rows(),
        "spending": pa.Table.from_pylist([_spent(draw, n) for n in range(400)]),
        "shops": pa.Table.from_pylist(
            [{"shop": s, "at": START + timedelta(days=n), "owner": f"{s}{n}"} for s in "ab" for n in (2, 5)]
        ),
    }
    for name, table in data.items():
        pq.write_table(table, folder / f"{name}.parquet")
    store_at(folder, folder, f"type: sqlite\n    path: {folder}/online.db")
    (folder / "apply.py").write_text(APPLY)
    run_feast(folder / "apply.py", folder)
    return data


def feast_rows() -> pa.Table:
    """Return the rows that the features are joined to."""
    draw = random.Random(8)
    return pa.Table.from_pylist([row for n in range(150) for row in _rows(draw, n)])


def store_at(folder: Path, home: Path, online: str) -> None:
    """Write a feature_store.yaml of the same registry, with an online store."""
    folder.mkdir(exist_ok=True)
    (folder / "feature_store.yaml").write_text(
        f"project: shop\nprovider: local\nregistry: {home}/registry.db\noffline_store:\n    type: dask\n"
        f"online_store:\n    {online}\nentity_key_serialization_version: 3\n"
    )


def run_feast(*words: str | Path) -> str:
    """Run Feast's Python, and return what it prints."""
    done = subprocess.run([FEAST_PYTHON, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def feast_spec(repo: Path, feast: dict[str, Any] | None = None, **sections: Any) -> ModelSpec:
    """Return a spec of the rows with the service's features."""
    views = [
        {"key": "customer", "features": ["spent", "orders", "mean"]},
        {"key": "shop", "features": ["owner"]},
    ]
    given = {"repo": str(repo), "service": "returns", "views": views, **(feast or {})}
    features = {
        "numeric": ["amount", "spent", "orders", "mean"],
        "categorical": ["owner"],
        **sections.pop("features", {}),
    }
    source = {"path": f"{repo}/rows.parquet", "feast": given}
    return small_spec(source=source, features=features, context=["customer", "shop"], **sections)


def expected(
    data: dict[str, pa.Table], customer: int | None, shop: str, at: datetime
) -> dict[str, float | str | None]:
    """Return the features of a key at a time, by plain Python."""
    spent = _latest(
        [e for e in data["spending"].to_pylist() if e["customer"] == customer and e["made"] <= at],
        at,
    )
    owner = _latest([e for e in data["shops"].to_pylist() if e["shop"] == shop and at - TTL <= e["at"]], at)
    return {
        "spent": spent and spent["spent"],
        "orders": spent and float(spent["orders"]),
        "mean": spent and spent["spent"] / spent["orders"],
        "owner": owner and owner["owner"],
    }


def _latest(events: Sequence[dict[str, Any]], at: datetime) -> dict[str, Any] | None:
    return max((e for e in events if e["at"] <= at), key=lambda e: e["at"], default=None)


def _rows(draw: random.Random, number: int) -> list[dict[str, Any]]:
    """Return a row; sometimes two of one key and time, of which Feast by itself would keep one."""
    at = START + timedelta(minutes=draw.randrange(10 * 1440))
    customer = None if draw.random() < 0.05 else draw.randrange(70)
    row = {"id": str(number), "at": at, "customer": customer, "shop": draw.choice("abc"), "amount": 1.0}
    rows = [row, {**row, "id": f"{number}-again"}] if draw.random() < 0.1 else [row]
    return [{**one, "late": number % 2} for one in rows]


def _spent(draw: random.Random, number: int) -> dict[str, Any]:
    at = START + timedelta(minutes=draw.randrange(9 * 1440), seconds=number % 60)
    late = timedelta(hours=draw.choice([0, 0, 1, 30]))
    return {
        "customer": draw.randrange(60),
        "at": at,
        "made": at + late,
        "spent": draw.uniform(0, 100),
        "orders": draw.randrange(1, 9),
    }
