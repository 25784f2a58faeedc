"""Writes the reference pages from what the code says of itself: commands, the spec's schema, docstrings, exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from evermodel.cli import exit_codes
from evermodel.spec.model import json_schema

# What people use from a notebook or a DAG of their own; the rest is for those who read the source.
DOMAIN = (
    "evermodel.core.settings",
    "evermodel.spec.load",
    "evermodel.spec.window",
    "evermodel.pipelines.retrain",
    "evermodel.pipelines.run_retrain",
    "evermodel.pipelines.drift",
    "evermodel.registry.registry",
    "evermodel.deployment.promotion",
    "evermodel.deployment.rollback",
    "evermodel.pipelines.reproduce",
    "evermodel.registry.tracking",
    "evermodel.monitoring.drift.verdict",
    "evermodel.evaluation.decision",
    "evermodel.monitoring.problems",
    "evermodel.core.errors",
    "evermodel.core.diagnostics",
)
PROVIDER = ("operators", "sensors", "hooks", "triggers")
# The map of the site; a page that is not in it stands at the end of the second chapter.
CHAPTERS = {
    "Start": ["first-model", "airflow", "concepts"],
    "How to": [
        *(
            "init",
            "watch",
            "data",
            "features",
            "validation",
            "bring-your-model",
            "retraining",
            "approval",
            "rollout",
        ),
        *(
            "scoring",
            "prediction-log",
            "serving",
            "page",
            "alerts",
            "backtest",
            "environments",
            "operators",
            "steps",
        ),
    ],
    "Operate": ["runbook", "production", "scale", "security"],
    "How it works": ["architecture", "decisions", "drift", "calibration", "performance", "evidently"],
    "Reference": [
        *("spec", "reference/schema", "settings", "reference/cli", "reference/domain", "reference/airflow"),
        *("formats", "public-interface", "licences"),
    ],
}
PLUGINS = Path(__file__).parent.parent / "plugins"


def write_references(docs: Path) -> None:
    """Write every reference page, and the map of the site."""
    (docs / "reference").mkdir(exist_ok=True)
    pages = {
        "reference/cli.md": _commands(),
        "reference/schema.md": _schema(),
        "reference/domain.md": _domain(),
        "reference/airflow.md": _airflow(),
    }
    for name, text in {**pages, "index.rst": _map(docs)}.items():
        page = docs / name
        # Sphinx reads a page again only if it is newer.
        if not page.exists() or page.read_text(encoding="utf-8") != text:
            page.write_text(text, encoding="utf-8")


def _map(docs: Path) -> str:
    """Return the start page: what GitHub shows for the folder, and the chapters at the side."""
    pages = {page.stem for page in docs.glob("*.md")} - {"README"}
    known = {page for chapter in CHAPTERS.values() for page in chapter}
    lines = [".. include:: README.md", "   :parser: myst_parser.sphinx_", ""]
    for title, chapter in CHAPTERS.items():
        found = [page for page in chapter if page in pages or page.startswith("reference/")]
        found += sorted(pages - known) if title == "How to" else []
        lines += [
            ".. toctree::",
            "   :hidden:",
            f"   :caption: {title}",
            "",
            *(f"   {page}" for page in found),
            "",
        ]
    return "\n".join(lines)


def _commands() -> str:
    """Return the pages of all commands, as typer writes them, with the exit codes."""
    command = [sys.executable, "-m", "typer", "evermodel.cli.root", "utils", "docs", "--name", "evermodel"]
    done = subprocess.run(
        [*command, "--title", "The command line"], capture_output=True, text=True, check=True
    )
    codes = "\n".join(_rst_table(exit_codes.__doc__ or ""))
    return f"{done.stdout}\n\n## Exit codes\n\n{codes}\n"


def _rst_table(text: str) -> list[str]:
    """Return the simple table of a docstring as a Markdown table."""
    rows: list[list[str]] = []
    for line in text.splitlines():
        code, _, meaning = line.partition("  ")
        if code.strip().isdigit():
            rows.append([code.strip(), meaning.strip()])
        elif rows and line.startswith("   ") and line.strip():
            rows[-1][1] += f" {line.strip()}"
    cells = [f"| {code} | {meaning.replace('``', '`')} |" for code, meaning in rows]
    return ["| code | meaning |", "|---|---|", *cells]


def _schema() -> str:
    """Return every section of the spec's JSON Schema as a table."""
    schema = json_schema()
    parts = [
        "# The spec's schema",
        "",
        "Made from the JSON Schema that `evermodel schema` prints; [the model spec](../spec.md) explains the fields.",
        "",
        *_section("The model", schema),
    ]
    for name, found in sorted(schema.get("$defs", {}).items()):
        if "properties" in found:
            parts += _section(name, found)
    return "\n".join(parts) + "\n"


def _section(name: str, found: dict[str, Any]) -> list[str]:
    needed = set(found.get("required", ()))
    head = [f"## {name}", "", " ".join(found.get("description", "").split("\n\n")[0].split()), ""]
    rows = [
        f"| `{field}` | {_kind(about)} | {'**needed**' if field in needed else _default(about)} |"
        for field, about in found["properties"].items()
    ]
    return [*head, "| field | type | default |", "|---|---|---|", *rows, ""]


def _kind(about: dict[str, Any]) -> str:
    """Say in a few words what a field takes."""
    if "$ref" in about:
        return f"`{about['$ref'].rsplit('/', 1)[-1]}`"
    if "enum" in about:
        return ", ".join(f"`{value}`" for value in about["enum"])
    if "const" in about:
        return f"`{about['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in about:
            return " or ".join(dict.fromkeys(_kind(one) for one in about[key]))
    kind = str(about.get("type", "anything"))
    if kind == "array":
        return f"list of {_kind(about.get('items', {}))}" if isinstance(about.get("items"), dict) else "list"
    limits = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    said = [f"{sign} {about[key]}" for key, sign in limits.items() if key in about]
    return f"{kind} {' and '.join(said)}".strip()


def _default(about: dict[str, Any]) -> str:
    if "default" not in about:
        return ""
    text = json.dumps(about["default"], ensure_ascii=False).replace("|", "\\|")
    return f"`{text}`" if len(text) < 80 else "see [the model spec](../spec.md)"


def _domain() -> str:
    parts = [
        "# In Python",
        "",
        "The domain needs no Airflow: every step of a DAG can be called from a notebook.",
        "",
    ]
    for module in DOMAIN:
        parts += _automodule(module)
    return "\n".join(parts)


def _airflow() -> str:
    parts = [
        "# Operators, sensors and hooks",
        "",
        "Each works alone in [your own DAG](../operators.md).",
        "",
    ]
    for kind in PROVIDER:
        files = sorted((PLUGINS / "evermodel_provider" / kind).glob("*.py"))
        for file in files:
            if file.stem != "__init__":
                parts += _automodule(f"evermodel_provider.{kind}.{file.stem}")
    parts += _automodule("evermodel_provider.results")
    return "\n".join(parts)


def _automodule(module: str) -> list[str]:
    return [f"## {module}", "", "```{eval-rst}", f".. automodule:: {module}", "```", ""]
