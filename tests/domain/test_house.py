"""Rules of the code that no tool checks: each test reads the sources, and names what breaks its rule."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from evermodel.registry import tags

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    file for part in ("include/evermodel", "plugins", "dags") for file in (ROOT / part).rglob("*.py")
)


def test_only_registry_tags_spells_a_tag() -> None:
    known = {tag for tag in vars(tags).values() if isinstance(tag, str) and tag.startswith(tags.OURS)}
    families = tuple(tag for tag in known - {tags.OURS} if tag.endswith("."))
    found = [
        f"{file.relative_to(ROOT)}:{constant.lineno} {word}"
        for file in SOURCES
        if file != Path(tags.__file__) and file.name != "metrics.py"  # StatsD's names begin like tags
        for constant in _texts(ast.parse(file.read_text(encoding="utf-8")))
        for word in re.findall(r"(?<![\w.])evermodel\.[\w.]*", constant.value)
        if word in known or word.startswith(families)
    ]
    assert not found


def _texts(tree: ast.Module) -> Iterator[ast.Constant]:
    """Return the texts of a module, also those in f-strings; docstrings are left out."""
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node
