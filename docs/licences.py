"""Write licences.md: the licence of every package of requirements-production.txt, as installed (python docs/licences.py)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "licences.md"
_PIN = re.compile(r"^([\w.-]+)(?:\[[\w,-]+\])?==([^\s;]+)", re.M)
_HEAD = """# Licences

The licence of every package in the production image, as the package itself declares it. `python docs/licences.py` writes this page.

| package | version | licence |
|---|---|---|
"""


def pins(name: str = "requirements-production.txt") -> Iterator[tuple[str, str]]:
    """Yield name and version of each pinned package of a requirements file, included files first."""
    text = (DOCS.parent / name).read_text(encoding="utf-8")
    for included in re.findall(r"^-r (\S+)$", text, re.M):
        yield from pins(included)
    yield from _PIN.findall(text)


def licence_of(package: Distribution) -> str:
    """Return what a package says: its expression, its classifiers, its licence field, or its licence file's first line."""
    facts = package.metadata
    expression, licence = ("".join(facts.get_all(name) or []) for name in ("License-Expression", "License"))
    classifiers = [
        c.split(" :: ")[-1] for c in facts.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    named = " / ".join(name for name in classifiers if name != "OSI Approved")
    said = expression or named or licence.strip().split("\n")[0]
    if said:
        return str(said)
    files = [file for file in package.files or [] if re.match(r"(?i)licen[cs]e|copying", file.name)]
    texts = [Path(str(package.locate_file(file))).read_text(encoding="utf-8") for file in files]
    if any("Permission is hereby granted, free of charge" in text for text in texts):
        return "MIT"
    return next((text.strip().split("\n")[0].strip() for text in texts), "")


def page() -> str:
    """Return the page for the installed packages."""
    rows = (
        f"| {name} | {version} | {licence_of(distribution(name))} |\n" for name, version in sorted(pins())
    )
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
