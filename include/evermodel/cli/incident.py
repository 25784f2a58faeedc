"""The commands `evermodel incident …`: list open incidents, and answer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from evermodel.cli import output
from evermodel.cli.options import AsJson, Model, OptionalModel, read_spec
from evermodel.core.environment import os_user
from evermodel.core.errors import IncidentError
from evermodel.registry.tracking import connect

if TYPE_CHECKING:
    from datetime import timedelta

    from evermodel.alerts.incident_message import ResponseKind
    from evermodel.alerts.incidents.respond import IncidentResponder
    from evermodel.core.settings import Settings
    from evermodel.monitoring.problems import ProblemKind
    from evermodel.registry.client import MlflowClient
    from evermodel.spec import ModelSpec

incident = typer.Typer(help="List open incidents, and answer them.", no_args_is_help=True)

Kind = Annotated[
    str | None,
    typer.Argument(help="drift, quality, performance or serving. Default: the only open one."),
]
For = Annotated[str | None, typer.Option("--for", help="How long, such as 12h or 3d, up to 90d.")]
Note = Annotated[str, typer.Option(help="Why; shown in the incident's thread and stored in the audit log.")]


@incident.command("list")
def list_(model: OptionalModel = None, as_json: AsJson = False) -> None:
    """Print the open incidents, with what was answered to them."""
    from evermodel.alerts.incidents.response_message import response_line
    from evermodel.alerts.text import moment
    from evermodel.core.settings import Settings
    from evermodel.spec import load_spec, load_specs

    settings = Settings.from_environment()
    specs = [load_spec(model, settings)] if model else load_specs(None, settings)[0]
    client = connect(settings.tracking_uri) if any(spec.watch is None for spec in specs) else None
    found = [
        (spec.name, one) for spec in specs for one in _responder(spec, settings, client).open_incidents()
    ]
    if as_json:
        output.print_json([_json(name, one.kind, one.incident, one.response) for name, one in found])
    elif not found:
        typer.echo("No incident is open.")
    else:
        rows = [
            (
                name,
                one.kind,
                one.incident.current,
                moment(one.incident.opened),
                response_line(one.response) if one.response else "",
            )
            for name, one in found
        ]
        output.print_table("Open incidents", ("model", "kind", "severity", "since", "answer"), rows)


@incident.command()
def acknowledge(model: Model, kind: Kind = None, note: Note = "", as_json: AsJson = False) -> None:
    """Take an incident over: reminders stop, unless it becomes worse."""
    _respond(model, kind, "acknowledged", None, note, as_json)


@incident.command()
def mute(model: Model, kind: Kind = None, span: For = "1d", note: Note = "", as_json: AsJson = False) -> None:
    """Stop reminders and escalations for some time; what became worse meanwhile is escalated afterwards."""
    _respond(model, kind, "muted", span, note, as_json)


@incident.command()
def expect(
    model: Model,
    note: Annotated[str, typer.Option(help="Which change is intended; stored in the audit log.")],
    kind: Kind = None,
    span: For = None,
    as_json: AsJson = False,
) -> None:
    """Mark an incident as an intended change: no reminders and no escalations, by default until it ends."""
    _respond(model, kind, "expected", span, note, as_json)


@incident.command()
def withdraw(model: Model, kind: Kind = None, as_json: AsJson = False) -> None:
    """Take back what was answered: reminders and escalations go on."""
    from evermodel.cli.messages import send

    spec, settings = read_spec(model)
    name = _responder(spec, settings).withdraw(_kind(kind), by=os_user())
    send(settings)
    output.answer(as_json, {"model": model, "incident": name}, f"{model}: incident {name} has no answer now")


def _respond(
    model: str, kind: str | None, answer: ResponseKind, span: str | None, note: str, as_json: bool
) -> None:
    from evermodel.alerts.incidents.response_message import response_line
    from evermodel.cli.messages import send

    spec, settings = read_spec(model)
    response = _responder(spec, settings).respond(
        _kind(kind), answer, by=os_user(), span=_span(span), note=note
    )
    send(settings)
    output.answer(
        as_json,
        {"model": model, **vars(response)},
        f"{model}: incident {response.incident}: {response_line(response)}",
    )


def _responder(spec: ModelSpec, settings: Settings, client: MlflowClient | None = None) -> IncidentResponder:
    from evermodel.alerts.incidents.respond import IncidentResponder
    from evermodel.alerts.publisher import clock, message_queue

    client = None if spec.watch else client or connect(settings.tracking_uri)
    return IncidentResponder(spec, client, message_queue(settings), clock())


def _kind(text: str | None) -> ProblemKind | None:
    from evermodel.monitoring.problems import KINDS

    found = next((kind for kind in KINDS if kind == text), None)
    if text is not None and found is None:
        raise IncidentError(f"{text} is no kind of problem", f"use {', '.join(KINDS)}")
    return found


def _span(text: str | None) -> timedelta | None:
    from evermodel.spec.parts import parse_span

    try:
        found: timedelta | None = None if text is None else parse_span(text)
    except ValueError as error:
        raise IncidentError(f"--for {text}: {error}", "write it as 12h or 3d") from None
    return found


def _json(model: str, kind: str, found: object, response: object) -> dict[str, object]:
    return {
        "model": model,
        "kind": kind,
        "incident": vars(found),
        "response": vars(response) if response else None,
    }
