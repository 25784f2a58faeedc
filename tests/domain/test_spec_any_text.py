"""Whatever a spec file holds, reading it gives a spec or a SpecError, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evermodel.core.errors import SpecError
from evermodel.spec import load_spec
from support.paths import PROJECT

TEXT = (PROJECT / "include" / "models" / "flights.yaml").read_text(encoding="utf-8")
DATA: dict[str, Any] = yaml.safe_load(TEXT)
# The same examples each time: a run must not fail by chance.
quick = settings(
    max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "flights.yaml"


def read(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        spec = load_spec(file)
    except SpecError as error:
        assert str(file) in error.problem  # noqa: PT017 - both outcomes are right, each in its way
    else:
        assert len(spec.digest) == 16


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def replaced(value: Any, at: tuple[Any, ...], new: Any) -> Any:
    if not at:
        return new
    copy = value.copy()
    copy[at[0]] = replaced(value[at[0]], at[1:], new)
    return copy


yaml_like = st.text(alphabet="abn:-?*&!|>{}[],#'\"%@`~<=$.\\ \n\t019é\u2028", max_size=60)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | st.dates() | st.binary()
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(), inner),
    max_leaves=6,
)


@quick
@given(content=st.binary(max_size=80) | yaml_like.map(str.encode))
def test_any_bytes(file: Path, content: bytes) -> None:
    read(file, content)


@quick
@given(start=st.integers(0, len(TEXT)), cut=st.integers(0, 40), put=yaml_like)
def test_the_shipped_spec_with_any_piece_of_text_replaced(file: Path, start: int, cut: int, put: str) -> None:
    read(file, (TEXT[:start] + put + TEXT[start + cut :]).encode())


@quick
@given(at=st.sampled_from(list(places(DATA))), value=values)
def test_the_shipped_spec_with_any_field_holding_any_value(
    file: Path, at: tuple[Any, ...], value: Any
) -> None:
    read(file, yaml.safe_dump(replaced(DATA, at, value), allow_unicode=True).encode("utf-8", "surrogatepass"))


@quick
@given(at=st.sampled_from(sorted(DATA)), value=values, key=st.text(max_size=8))
def test_the_shipped_spec_with_a_field_removed_and_an_unknown_one_added(
    file: Path, at: str, value: Any, key: str
) -> None:
    rest = {name: section for name, section in DATA.items() if name != at}
    read(file, yaml.safe_dump(rest | {key: value}).encode())
