"""What the Dockerfile says, stage by stage."""

from __future__ import annotations

import re

from support.paths import PROJECT


def stages() -> dict[str, str]:
    """Return the lines of each stage, by its name."""
    text = (PROJECT / "Dockerfile").read_text(encoding="utf-8")
    _, *parts = re.split(r"^FROM \S+ AS (\w+)$", text, flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))
