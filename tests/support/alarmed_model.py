"""A model with an open incident about drift."""

from __future__ import annotations

from pathlib import Path

import pytest

from evermodel.alerts.incidents.handler import IncidentHandler
from evermodel.alerts.incidents.respond import IncidentResponder, OpenIncident
from evermodel.alerts.incidents.response import Response
from evermodel.alerts.incidents.store import RegistryIncidents
from evermodel.alerts.publisher import clock, message_queue
from evermodel.registry.tracking import keyed_run
from support.flights import World
from support.verdicts import a_problem, a_verdict


@pytest.fixture
def alarmed(world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> World:
    """A model with an open incident about drift; processes of this test find its MLflow and its database."""
    for name, value in world.environment.items():
        monkeypatch.setenv(name, value)
    world.client.create_registered_model(world.name)
    day = keyed_run(world.client, f"{world.name}-monitoring", "drift/1", kind="drift", name="drift/1")
    handler = IncidentHandler(
        *(world.spec, RegistryIncidents(world.client, world.name, day.info.run_id)),
        *(message_queue(world.settings), {}),
        *(lambda kind: "", None, clock()),
        answerable=True,
    )
    as_of = clock()
    handler.handle(a_verdict(model=world.name, problems=(a_problem(),)), as_of, tmp_path)
    return world


def open_incident(world: World) -> OpenIncident:
    """Return the incident that is open, with its answer."""
    queue = message_queue(world.settings)
    (found,) = IncidentResponder(world.spec, world.client, queue, clock()).open_incidents()
    return found


def answered(world: World) -> Response | None:
    """Return what was answered to the open incident."""
    return open_incident(world).response
