"""The commands `evermodel features …`: what the serving app looks up."""

from __future__ import annotations

from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, read_spec, time_of
from evermodel.core.errors import EvermodelError

features = typer.Typer(
    help="Write and read the features that the serving app looks up.", no_args_is_help=True
)
AsOfTime = Annotated[
    str | None, typer.Option(help="Time in the period (ISO, UTC). Default: now.", metavar="TIME")
]


@features.command("write")
def write(model: Model, as_of: AsOfTime = None, as_json: AsJson = False) -> None:
    """Write the aggregates of the period that has begun, by key; a repetition replaces them."""
    from evermodel.data.online.write import write_online

    (spec, settings), moment = read_spec(model), time_of(as_of)
    with output.step("write the features"):
        written = write_online(spec, moment, settings)
    if as_json:
        output.print_json([view.to_json() for view in written])
        return
    rows = [(view.view, f"{view.keys:,}", ", ".join(view.features), view.period) for view in written]
    output.print_table(f"Written of {spec.name}", ("view", "#keys", "features", "as of"), rows)


@features.command("read")
def read(
    model: Model,
    key: Annotated[list[str], typer.Argument(help="The key, as column=value, once a column.")],
    as_of: AsOfTime = None,
    as_json: AsJson = False,
) -> None:
    """Print what a request with a key would get now, or at another time."""
    from evermodel.data.online.part import key_text, part_of, values_of
    from evermodel.data.online.store import open_store

    (spec, settings), moment = read_spec(model), time_of(as_of)
    given = dict(text.partition("=")[::2] for text in key)
    views = [view for view in spec.feature_views if set(view.key) <= set(given)]
    if spec.features.online is None or not views:
        keys = (
            " or ".join(", ".join(view.key) for view in spec.feature_views) or "none: no feature is looked up"
        )
        raise EvermodelError(f"no view of {spec.name} has the key {', '.join(given)}", f"keys: {keys}")
    store, period = open_store(settings.feature_store_url), spec.features.online.period_at(moment)
    found: dict[str, object] = {}
    for view in views:
        texts = store.read(part_of(spec, view, period), [key_text([given[name] for name in view.key]) or ""])
        if texts is None:
            raise EvermodelError(
                f"{view.name}: nothing is written of {period:%Y-%m-%d %H:%M} UTC",
                f"run `evermodel features write {spec.name}`",
            )
        found |= zip(view.features, values_of(view, texts[0]), strict=True)
    lines = [f"{name}: {value}" for name, value in found.items()]
    output.answer(
        as_json,
        {"as_of": period.isoformat(), **found},
        "\n".join([f"as of {period:%Y-%m-%d %H:%M} UTC", *lines]),
    )
