"""The command that scores days into the prediction log."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, AsOf, Model, moment_of, read_spec
from evermodel.core.errors import EmptyWindowError, EvermodelError
from evermodel.registry.tracking import connect


def score(
    model: Model,
    as_of: AsOf = None,
    first: Annotated[str, typer.Option("--from", help="First day to score (ISO, UTC).", metavar="DAY")] = "",
    last: Annotated[
        str, typer.Option("--to", help="Last day to score. Default: yesterday.", metavar="DAY")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Score the day before --as-of with the champion, or every day of --from and --to; a repetition replaces the day."""
    output.quiet_libraries()
    (spec, settings), moments = read_spec(model), _moments(as_of, first, last)
    with output.step("start") as say:
        from evermodel.modeling.scoring.day import score_day

        client = connect(settings.tracking_uri)
        say(f"{spec.name}, {len(moments)} days" if len(moments) > 1 else spec.name)
    done = []
    for moment in moments:
        with output.step(f"score {moment - timedelta(days=1):%Y-%m-%d}") as say:
            try:
                scored = score_day(spec, moment, client, settings)
            except EmptyWindowError as error:
                if len(moments) == 1:
                    raise
                say(f"skipped: {error.problem}")  # a shop may be closed on some days of a year
                continue
            done.append(scored)
            say(f"{scored.rows:,} rows by version {scored.version}")
    if as_json:
        output.print_json([scored.to_json() for scored in done])
        return
    rows = ((s.day, s.version, f"{s.rows:,}", f"{s.mean_score:.4f}", s.path) for s in done)
    output.print_table(
        f"Scored of {spec.name}", ("day", "version", "#rows", "#mean score", "path in the lake"), rows
    )


def _moments(as_of: str | None, first: str, last: str) -> list[datetime]:
    """Return the midnights after the days to score."""
    if not first:
        if last:
            raise EvermodelError("--to needs --from", "pass the first day with --from")
        return [moment_of(as_of)]
    if as_of is not None:
        raise EvermodelError("--as-of and --from cannot be combined", "pass one of them")
    begin, end = moment_of(first), moment_of(last) if last else moment_of(None) - timedelta(days=1)
    if end < begin:
        raise EvermodelError(f"{begin.date()} is after {end.date()}", "pass the earlier day with --from")
    return [begin + timedelta(days=n + 1) for n in range((end - begin).days + 1)]
