"""Arguments and options that commands share, with completion of model names."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.core.errors import EvermodelError

if TYPE_CHECKING:
    from evermodel.core.settings import Settings
    from evermodel.spec import ModelSpec


def model_names(incomplete: str) -> list[str]:
    """Return the models whose names start with the text, for shell completion; nothing if the folder is missing."""
    from evermodel.core.settings import Settings

    files = Settings.from_environment().models.glob("*.y*ml")
    names = sorted({file.stem for file in files if not file.stem.endswith(".schema")})
    return [name for name in names if name.startswith(incomplete)]


Model = Annotated[str, typer.Argument(help="Model.", autocompletion=model_names)]
OptionalModel = Annotated[
    str | None, typer.Argument(help="Model. Default: all models.", autocompletion=model_names)
]
Version = Annotated[str, typer.Argument(help="Version in the registry.")]
Reason = Annotated[str, typer.Option(help="Reason, stored in the registry's history.")]
RunKey = Annotated[
    str | None,
    typer.Option(help="Idempotency key: a repetition with the same key changes nothing. Default: a new one."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print only JSON on stdout.")]
AsOf = Annotated[
    str | None,
    typer.Option(help="Use data as of this day (ISO, UTC). Default: today.", metavar="DAY"),
]


def read_spec(model: str) -> tuple[ModelSpec, Settings]:
    """Return a model's spec, and the settings it was read with."""
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec

    settings = Settings.from_environment()
    return load_spec(model, settings), settings


def time_of(as_of: str | None) -> datetime:
    """Return the time of a command's `--as-of`, by default now; raises `EvermodelError` unless it is an ISO date or time."""
    from evermodel.spec.window import parse_moment

    try:
        return parse_moment(as_of or datetime.now(UTC))
    except ValueError as error:
        raise EvermodelError(f"{as_of} is no time", "write it as 2026-01-31 or 2026-01-31T14:00") from error


def moment_of(as_of: str | None) -> datetime:
    """Return the moment of a command's `--as-of`, a midnight; raises `EvermodelError` unless it is an ISO date."""
    from evermodel.spec.window import whole_day

    try:
        return whole_day(as_of or datetime.now(UTC))
    except ValueError as error:
        raise EvermodelError(f"{as_of} is not a day", "write it as 2026-01-31") from error
