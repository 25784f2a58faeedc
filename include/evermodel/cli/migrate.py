"""The command that moves an earlier release's folder to a lake and a database."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson

_MOST_SHOWN = 20


def migrate(
    folder: Annotated[Path, typer.Argument(help="Lake of the earlier release: a folder.")],
    remote: Annotated[
        Path | None, typer.Option(help="Folder of its DVC remote, for snapshots its lake no longer has.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what the folder has; nothing is moved.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Move a folder to the lake and the database of this environment: each item once, compared by its checksum.

    Stop everything of the earlier release before. The folder stays as it is; run the command again after an interruption.
    """
    from evermodel.core.settings import Settings
    from evermodel.pipelines.migrate import Migration

    settings = Settings.from_environment()
    migration = Migration(folder, settings, remote)
    with output.waiting("reading" if dry_run else "moving"):
        found = migration.found() if dry_run else migration.run()
    if as_json:
        output.print_json({"dry_run": dry_run, "kinds": [moved.to_json() for moved in found]})
        return
    rows = (
        (one.kind, f"{one.items:,}", f"{one.size / 1e6:,.1f}", f"{one.moved:,}", f"{one.present:,}", f"{len(one.left):,}")
        for one in found
    )  # fmt: skip
    title = f"{folder} to {settings.lake} and {settings.database_url}"
    head = ("kind", "#items", "#MB", "#moved", "#there already", "#left")
    output.print_table(f"{title}{' (dry run)' if dry_run else ''}", head, rows)
    left = [reason for one in found for reason in one.left]
    for reason in left[:_MOST_SHOWN]:
        typer.echo(f"left: {reason}")
    if len(left) > _MOST_SHOWN:
        typer.echo(f"and {len(left) - _MOST_SHOWN} more: --json has all")
    typer.echo("Open incidents are in MLflow: the next drift run takes them over.")
