"""Arguments and options that commands share, with completion of model names."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from evermodel.core.errors import EvermodelError


def model_names(incomplete: str) -> list[str]:
    """Return the models whose names begin so, for the shell's completion; a folder that is away completes nothing."""
    from evermodel.core.settings import Settings

    files = Settings.from_environment().models.glob("*.y*ml")
    names = sorted({file.stem for file in files if not file.stem.endswith(".schema")})
    return [name for name in names if name.startswith(incomplete)]


Model = Annotated[str, typer.Argument(help="Model.", autocompletion=model_names)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else there.")]
AsOf = Annotated[
    str | None,
    typer.Option(help="See the world as of this day (ISO, UTC); today if not given.", metavar="DAY"),
]


def moment_of(as_of: str | None) -> datetime:
    """Return the midnight that a command looks from.

    Raises
    ------
    EvermodelError
        The day is not written as an ISO date.
    """
    from datetime import UTC

    from evermodel.spec.window import whole_day

    try:
        return whole_day(as_of or datetime.now(UTC))
    except ValueError as error:
        raise EvermodelError(f"{as_of} is not a day", "write it as 2026-01-31") from error
