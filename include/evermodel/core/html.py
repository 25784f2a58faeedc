"""HTML from the Jinja templates beside the code, with every value escaped and printable."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jinja2 import Environment

_PACKAGE = Path(__file__).parents[1]
# C0 and C1 controls except tab and newline, lone surrogates, and marks that turn the reading direction around.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069]")


def printable(text: object) -> str:
    """Return text without characters that cannot be shown."""
    return _UNPRINTABLE.sub("\ufffd", str(text).replace("\r\n", "\n"))


def render(template: str, **values: object) -> str:
    """Return a page.

    Parameters
    ----------
    template
        Path below this package, such as ``reports/templates/decision.html``.
    values
        Data for the template, as it is: the template escapes it.
    """
    return _environment().get_template(template).render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        loader=FileSystemLoader(_PACKAGE),
        # What a macro returns is escaped already.
        finalize=lambda value: value if hasattr(value, "__html__") else printable(value),
    )
