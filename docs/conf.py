"""How Sphinx builds the pages: `make docs`; the references are written before it reads them."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))
# The operators' pages import Airflow, which would make itself a home.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="docs-airflow-"))

from references import write_references  # noqa: E402

from evermodel import __version__  # noqa: E402

project = "evermodel"
author = "The evermodel authors"
copyright = "The evermodel authors, Apache-2.0"
release = version = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["README.md", "images/*.md"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
myst_heading_anchors = 4
myst_enable_extensions = ["deflist", "colon_fence"]
# GitHub takes them as plain text; Sphinx has no colours for them.
suppress_warnings = ["misc.highlighting_failure"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_default_options = {"members": True, "show-inheritance": True, "exclude-members": "model_config"}
napoleon_google_docstring = False
napoleon_use_rtype = False

html_theme = "furo"
html_title = f"evermodel {release}"
html_copy_source = False
copybutton_prompt_text = "$ "

write_references(HERE)
