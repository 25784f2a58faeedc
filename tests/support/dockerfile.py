"""What the Dockerfile says, stage by stage."""

from __future__ import annotations

import re

from support.paths import PROJECT


def stages() -> dict[str, str]:
    """Return the lines of each stage, by its name; those of the stage that it is made from come first."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    _, *parts = re.split(r"^FROM (\S+) AS (\w+)$", text, flags=re.M)
    found: dict[str, str] = {}
    for base, name, lines in zip(parts[::3], parts[1::3], parts[2::3], strict=True):
        found[name] = found.get(base, "") + lines
    return found
