"""The commands that show and verify the audit log."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from evermodel.cli import output
from evermodel.cli.exit_codes import DONE, FAILED
from evermodel.cli.options import AsJson, Model, OptionalModel
from evermodel.registry.tracking import connect


class _AuditGroup(TyperGroup):
    """Takes ``MODEL --year`` for ``year MODEL``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if "--year" in args:
            args = ["year", *(argument for argument in args if argument != "--year")]
        return super().parse_args(ctx, args)


audit = typer.Typer(
    cls=_AuditGroup,
    help="Show and verify the record of every change of what serves; `evermodel audit MODEL --year`: what was promised"
    " and what came true.",
    no_args_is_help=True,
)


@audit.command("list")
def show(model: Model, as_json: AsJson = False) -> None:
    """Print a model's lines, oldest first: time, event, facts, and the operating system's user and host."""
    from evermodel.core.settings import Settings
    from evermodel.registry.audit import read_audit_log

    lines = list(read_audit_log(connect(Settings.from_environment().tracking_uri), model).entries())
    if as_json:
        output.print_json(lines)
        return
    for line in lines:
        facts = ", ".join(f"{name} {value}" for name, value in line["facts"].items())
        typer.echo(
            f"{line['line']}  {line['time']}  {line['event']}: {facts} ({line['os_user']}@{line['host']})"
        )


@audit.command("year")
def year(model: Model, as_json: AsJson = False) -> None:
    """Print what was promised of a model in the last twelve months and what came true; also: `audit MODEL --year`."""
    from datetime import UTC, datetime

    from evermodel.alerts.year_audit import year_audit
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec

    settings = Settings.from_environment()
    spec = load_spec(model, settings)
    found = year_audit(spec, connect(settings.tracking_uri), datetime.now(UTC))
    if as_json:
        output.print_json(found.to_json())
        return
    title = (
        f"{found.model}, {found.start[:10]} to {found.end[:10]}: {found.promotions} promotions, "
        f"{found.windows} windows"
    )
    marks = {True: "kept", False: "NOT KEPT", None: ""}
    rows = [[p.name, p.promised, p.realised, marks[p.kept], p.note] for p in found.promises]
    output.print_table(title, ["", "promised", "came true", "", "not known"], rows)


@audit.command("verify")
def verify_(model: OptionalModel = None, as_json: AsJson = False) -> None:
    """Name lines that are missing or edited, and an alias that was moved outside evermodel; exit 1 if there is one."""
    from evermodel.core.settings import Settings
    from evermodel.registry.audit import verify
    from evermodel.registry.registry import ModelRegistry
    from evermodel.spec import load_specs

    settings = Settings.from_environment()
    names = [model] if model is not None else [spec.name for spec in load_specs(None, settings)[0]]
    registry, found = ModelRegistry(connect(settings.tracking_uri)), {}
    for name in names:
        log, found[name] = verify(registry.client, registry.read(name))
        for problem in [] if as_json else found[name]:
            typer.echo(f"{name}: {problem}")
        if not as_json and not found[name]:
            typer.echo(
                f"{name}: {len(log.lines)} lines, intact; the last has SHA-256 {log.next_line()[1] or '-'}"
            )
    if as_json:
        output.print_json(found)
    raise typer.Exit(FAILED if any(found.values()) else DONE)
