"""Links lead somewhere, and every field, command, module and kind of incident is documented.

That the examples work is tested elsewhere: `test_docs_yaml`, `test_docs_commands`, `provider/test_docs_python`,
`integration/test_guides` and `integration/test_first_model`.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from evermodel.spec import ModelSpec
from evermodel.spec.load import sections_of
from support.guides import PAGES
from support.paths import PROJECT, load_script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\((?!https?://)([^)\s]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not _leads(page, link)] == []


def _leads(page: Path, link: str) -> bool:
    name, _, anchor = link.partition("#")
    target = page.parent / name if name else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Return the names that GitHub gives to the headings of a page."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_field_of_the_spec_is_documented() -> None:
    text = (PROJECT / "docs" / "spec.md").read_text(encoding="utf-8")
    missing = [
        field for field in _leaf_fields(ModelSpec) if f"`{field}" not in text and f".{field}" not in text
    ]
    assert missing == []


def _leaf_fields(model: type[BaseModel]) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        sections = sections_of(field.annotation)
        names += [leaf for section in sections for leaf in _leaf_fields(section)] or [name]
    return names


def _references() -> Any:
    return _script("references")


def _script(name: str) -> Any:
    return load_script(PROJECT / "docs" / f"{name}.py")


def test_the_reference_of_the_schema_names_every_field_with_what_it_takes() -> None:
    text = _references()._schema()
    assert [field for field in _leaf_fields(ModelSpec) if f"| `{field}` |" not in text] == []
    assert '| `task` | `binary`, `multiclass`, `regression`, `ranking` | `"binary"` |' in text
    assert "| `features` | `FeaturesSpec` | **needed** |" in text


def test_the_reference_of_the_commands_has_each_command_and_the_exit_codes() -> None:
    from evermodel.cli import app

    text = _references()._commands()
    names = [command.callback.__name__ for command in app.registered_commands if command.callback]
    assert len(names) >= 14
    assert [name for name in names if f"## `evermodel {name}`" not in text] == []
    assert re.search(r"\| 3 \| negative result: .* reached the level of `--fail-on` \|", text)


def test_the_modules_of_the_reference_exist() -> None:
    references = _references()
    assert [name for name in references.DOMAIN if importlib.util.find_spec(name) is None] == []
    assert references._airflow().count(".. automodule:: evermodel_provider.operators.") > 10


def test_the_run_book_has_every_kind_of_incident() -> None:
    from evermodel.alerts.incident_message import TITLES

    text = (PROJECT / "docs" / "runbook.md").read_text(encoding="utf-8")
    assert [title for title in TITLES.values() if f"| *{title}*" not in text] == []


def test_the_page_of_settings_has_every_variable_of_ours() -> None:
    places = [PROJECT / "docker-compose.yaml", PROJECT / "Dockerfile"]
    for folder in ("include", "plugins", "dags"):
        places += [f for f in (PROJECT / folder).rglob("*") if f.suffix in (".py", ".sh", ".yaml")]
    found = {
        name
        for place in places
        for name in re.findall(r"EVERMODEL_[A-Z_]*[A-Z]\b", place.read_text(encoding="utf-8"))
    }
    found -= {"EVERMODEL_SERVE_ARGUMENTS"}  # from serving's first process to its workers, not for people
    page = (PROJECT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert sorted(name for name in found if f"`{name}`" not in page) == []
    assert "`airflow_settings.yaml`" in page


def _flights(page: Path) -> str:
    """Return what docs/backtest_flights.py has written into a page."""
    return page.read_text(encoding="utf-8").split("<!-- flights -->\n")[1].split("\n<!-- /flights -->")[0]


def test_the_tables_of_the_backtest_agree() -> None:
    from evermodel.pipelines.backtest.policies import POLICIES

    readme, page = (_flights(PROJECT / name) for name in ("README.md", "docs/backtest.md"))
    assert re.search(r"result `[0-9a-f]{16}`:\n\n\| policy \| mean week \|", readme)
    assert page.startswith(f"{readme}\n\n- ")
    named = re.findall(r"^\| (\w+) \| 0\.", readme, re.M)
    assert named == list(POLICIES)


def test_the_script_of_the_backtest_writes_between_the_marks(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- flights -->\nold\n\n| a |\n<!-- /flights -->\nafter\n")
    _script("backtest_flights").replace(page, "new \\1")
    assert page.read_text() == "before\n<!-- flights -->\nnew \\1\n<!-- /flights -->\nafter\n"
