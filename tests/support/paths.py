"""Where the project and its sample data lie, and how a script beside the packages is loaded."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

PROJECT = Path(__file__).parents[2]
SAMPLE = PROJECT / "tests" / "data" / "flights_sample.parquet"


def load_script(file: Path) -> ModuleType:
    """Load a script that belongs to no package, such as those of ``docs``."""
    found = importlib.util.spec_from_file_location(file.stem, file)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module
