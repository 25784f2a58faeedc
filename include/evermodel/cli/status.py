"""The command that tells what is in production, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli.options import AsJson, model_names
from evermodel.registry.tags import METRIC, METRIC_VALUE, SNAPSHOT, SNAPSHOT_MD5, TRAIN_END, TRAIN_START

if TYPE_CHECKING:
    from evermodel.pipelines.status import Place, Status
    from evermodel.registry.client import MlflowClient


def status(
    model: Annotated[
        str | None, typer.Argument(help="Model; all models if none is given.", autocompletion=model_names)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Tell which version is champion, how the requests are shared out, and which version serves where."""
    from datetime import UTC, datetime

    from evermodel.cli.answer import print_json
    from evermodel.cli.steps import waiting
    from evermodel.core.settings import Settings
    from evermodel.pipelines.status import status_of
    from evermodel.registry.registry import ModelRegistry
    from evermodel.registry.tracking import connect
    from evermodel.spec import load_specs

    settings = Settings.from_environment()
    names = [model] if model is not None else [spec.name for spec in load_specs(None, settings)[0]]
    with waiting("asking MLflow"):
        client = connect(settings.tracking_uri)
        if model is not None:
            ModelRegistry(client).read(model).require_champion()
        found = [status_of(client, name, settings.lake, datetime.now(UTC)) for name in names]
        lineage = [] if model is None or as_json else _lineage(found[0], client)
    if as_json:
        told = [one.to_json() for one in found]
        print_json(told[0] if model is not None else told)
        return
    for one in found:
        _print(one, lineage, whole=model is not None)


def _print(found: Status, lineage: list[str], *, whole: bool) -> None:
    from evermodel.cli.answer import print_table
    from evermodel.pipelines.status import history_lines, lines_of

    first, *others = lines_of(found)
    past = history_lines(found.history)
    for line in (first, *lineage, *others, *(past if whole else past[:1])):
        typer.echo(line)
    if found.places:
        head = ("environment", "host", "#pid", "version", "share", "engine", "since", "seen", "")
        print_table("", head, map(_row, found.places))


def _lineage(found: Status, client: MlflowClient) -> list[str]:
    tags = client.get_model_version(found.model, found.champion).tags if found.champion else {}
    lines = []
    if METRIC_VALUE in tags:
        lines.append(f"  {tags.get(METRIC)} {float(tags[METRIC_VALUE]):.4f} at promotion")
    if TRAIN_START in tags:
        lines.append(f"  trained on {tags[TRAIN_START][:10]} to {tags[TRAIN_END][:10]}")
    if SNAPSHOT in tags:
        lines.append(f"  snapshot {tags[SNAPSHOT]} (DVC md5 {tags[SNAPSHOT_MD5]})")
    return lines


def _row(place: Place) -> tuple[str, ...]:
    shares = ", ".join(f"{version}: {share:.3g}" for version, share in place.shares.items())
    behind = f"BEHIND: {place.behind}" if place.behind else ""
    return (
        place.environment,
        place.host,
        str(place.pid or ""),
        place.version or "none",
        shares or "all",
        place.engine,
        place.since[:19],
        place.seen[:19],
        behind,
    )
