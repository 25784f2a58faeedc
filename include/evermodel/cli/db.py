"""The commands `evermodel db status|upgrade`: the database and its schema."""

from __future__ import annotations

from typing import Annotated

import typer

from evermodel.cli import output
from evermodel.cli.exit_codes import FAILED
from evermodel.cli.options import AsJson

db = typer.Typer(help="Show the database, and bring its schema up to date.", no_args_is_help=True)


@db.command()
def status(as_json: AsJson = False) -> None:
    """Show the database's address, the version of its schema, and the leases that are held."""
    from evermodel.core.database.database import Database
    from evermodel.core.database.lease import owners
    from evermodel.core.database.schema import SCHEMA, is_usable, stored_schema
    from evermodel.core.settings import Settings

    database = Database(Settings.from_environment().database_url)
    found = stored_schema(database)
    held = owners(database) if found else {}
    state = {"address": database.address, "schema": found, "newest": SCHEMA, "leases": held}
    said = [f"{database.address}: schema {found or 'not made yet'}, this release knows {SCHEMA}"]
    said += [f"  {name} is held by {owner}" for name, owner in held.items()]
    output.answer(as_json, state, "\n".join(said))
    if not is_usable(found):
        raise typer.Exit(FAILED)


@db.command("drop-messages")
def drop_messages(
    destination: Annotated[
        str, typer.Argument(help="Name of the destination, as an error or the log gives it.")
    ],
    as_json: AsJson = False,
) -> None:
    """Delete the queued messages of a destination that no spec names any more."""
    from evermodel.alerts.publisher import message_queue
    from evermodel.core.settings import Settings

    dropped = message_queue(Settings.from_environment()).drop(destination)
    output.answer(as_json, {"dropped": dropped}, f"{destination}: {dropped} messages deleted")


@db.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the tables, or bring them to this release's schema: needed only where services may not change tables."""
    from evermodel.core.database.database import Database
    from evermodel.core.database.schema import upgrade as bring
    from evermodel.core.settings import Settings

    database = Database(Settings.from_environment().database_url)
    with output.waiting("upgrading the schema"):
        found = bring(database)
    output.answer(
        as_json, {"address": database.address, "schema": found}, f"{database.address}: schema {found}"
    )
