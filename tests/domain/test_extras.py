"""The table of extras is that of pyproject.toml, and a missing library is named with its extra."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest
from packaging.requirements import Requirement

from evermodel.core.errors import MissingExtraError
from evermodel.core.extras import EXTRAS, OF_SCHEME, named_extras
from evermodel.spec import ModelSpec, libraries
from support.distributions import pyproject
from support.small_spec import small_spec

DECLARED: dict[str, list[str]] = pyproject("evermodel")["optional-dependencies"]


def _brought(extra: str) -> Iterator[str]:
    for needed in map(Requirement, DECLARED[extra]):
        if needed.name == "evermodel":
            for part in needed.extras:
                yield from _brought(part)
        yield needed.name


@pytest.mark.slow
@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_its_libraries(extra: str) -> None:
    installed, brought = packages_distributions(), set(_brought(extra))
    for library in EXTRAS[extra]:
        names = {*installed.get(library, []), library.replace("_", "-")}
        # What FastAPI and Ibis bring themselves is not listed again.
        assert names & {*brought, "starlette"}, library
    assert set(OF_SCHEME.values()) <= set(EXTRAS)


def test_all_has_every_extra_but_clouds_spark_pytorch_and_the_local_stack() -> None:
    wanted = set(DECLARED) - {"all", "demo", "spark", "torch", "s3", "gcs", "azure"}
    assert set(_brought("all")) >= {name for extra in wanted for name in _brought(extra)}


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evermodel.core.extras.is_installed", lambda library: False)
    with pytest.raises(MissingExtraError, match="numba is not installed") as caught, named_extras():
        raise ModuleNotFoundError("No module named 'numba'", name="numba.core")
    assert caught.value.advice == 'pip install "evermodel[fast]"'
    with pytest.raises(MissingExtraError) as caught, named_extras("serve"):
        raise ModuleNotFoundError("No module named 'numpy'", name="numpy")
    assert caught.value.advice == 'pip install "evermodel[serve]"'


@pytest.mark.parametrize("name", ["pandas.nowhere", "a_package_of_yours"])
def test_any_other_failed_import_stays_as_it_is(name: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="as it was"), named_extras():
        raise ModuleNotFoundError("as it was", name=name)


def _needs(**fields: object) -> set[str]:
    spec: ModelSpec = small_spec(**fields)
    return set(libraries.libraries_of(spec)) - set(EXTRAS["train"]) - {"dvc"}


def test_a_spec_needs_the_libraries_of_what_it_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _needs() == set()
    boosted = [{"name": "trees", "estimator": "lightgbm.LGBMClassifier"}]
    assert _needs(candidates=boosted) == {"lightgbm"}
    assert _needs(source={"kind": "ibis", "url": "pyspark://x", "table": "t"}) == {"ibis", "pyspark"}
    assert _needs(drift={"by_column": {"age": {"method": "ks"}}}) == {"evidently"}
    assert _needs(source={"path": "gs://lake/rows.parquet"}) == {"gcsfs"}
    monkeypatch.setattr(libraries, "is_installed", lambda library: library not in ("lightgbm", "dvc"))
    lines, command = libraries.missing_extras(small_spec(candidates=boosted))
    assert lines == [
        "model small: tracking of snapshots needs dvc",
        "model small: candidate trees needs lightgbm",
    ]
    assert command == 'pip install "evermodel[dvc,boosting]"'
