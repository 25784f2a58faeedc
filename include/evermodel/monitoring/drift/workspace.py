"""Evidently's workspace with each day's report, so that Evidently's own UI shows the history."""

from __future__ import annotations

import hashlib
import json
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from evermodel.core.atomic import place
from evermodel.core.storage import StoragePath
from evermodel.spec import ModelSpec

if TYPE_CHECKING:
    from evidently.sdk.models import DashboardModel, DashboardPanelPlot

_MOST_COLUMNS = 12


def keep_report(workspace: StoragePath, spec: ModelSpec, snapshot: Any, as_of: datetime) -> UUID:
    """Save a day's report to the workspace, drop those that are older than the spec keeps, and return the report's id.

    There is one project for each model. Ids are made from model and day, so that the same day again replaces its own
    report; every file appears whole or not at all, so that two tasks at once, and a UI that reads, are safe. A
    dashboard that exists is left as people made it.

    Parameters
    ----------
    workspace
        Folder of the workspace, made if there is none; or a prefix of a bucket.
    snapshot
        What `draw_report` returned.
    """
    from evidently.legacy.utils import NumpyEncoder
    from evidently.sdk.models import ProjectModel
    from evidently.ui.storage.local.base import LocalState

    project, report = project_id(spec.name), report_id(spec.name, as_of)
    with tempfile.TemporaryDirectory(prefix="evermodel-") as folder:
        draft = LocalState(folder)
        draft.write_project(ProjectModel(id=project, name=spec.name, description=spec.description))
        # Evidently's own write takes json.dump, which is five times as slow as dumps.
        data = json.dumps(_steady(snapshot), cls=NumpyEncoder)
        (Path(folder) / str(project) / "snapshots").mkdir()
        (Path(folder) / str(project) / "snapshots" / f"{report}.json").write_text(data, encoding="utf-8")
        draft.write_dashboard(project, dashboard(spec))
        _publish(Path(folder) / str(project), workspace / str(project))
    _drop_old(workspace / str(project) / "snapshots", spec)
    return report


def project_id(model: str) -> UUID:
    """Return the id of a model's project."""
    return UUID(hashlib.sha256(f"evermodel/{model}".encode()).hexdigest()[:32], version=4)


def report_id(model: str, as_of: datetime) -> UUID:
    """Return the id of a day's report; it begins with the day.

    >>> str(report_id("flights", datetime(2013, 3, 18)))[:9]
    '20130318-'
    """
    return UUID(f"{as_of:%Y%m%d}-0000-8000-8000-{project_id(model).hex[:12]}")


def dashboard(spec: ModelSpec) -> DashboardModel:
    """Return the panels that a new project gets: drifting columns, effects over time, rows."""
    from evidently.sdk.models import DashboardModel, DashboardTabModel, PanelMetric
    from evidently.sdk.panels import line_plot_panel

    def line(metric: str, legend: str, **labels: str) -> PanelMetric:
        return PanelMetric(legend=legend, metric=metric, metric_labels=labels)

    panels: list[DashboardPanelPlot] = [
        line_plot_panel(
            "Share of drifting columns",
            [line("DriftedColumnsCount", "share", value_type="share")],
            "By evermodel's verdict on all rows.",
            size="half",
        ),
        line_plot_panel(
            "Rows", [line("RowCount", "rows")], "Rows of the window, not of the plotted sample.", size="half"
        ),
        line_plot_panel(
            "Effect by column",
            [line("ValueDrift", name, column=name) for name in spec.watched[:_MOST_COLUMNS]],
            f"Population stability index, where the method is evermodel's own: from {spec.drift.psi.warning:g} on a "
            f"warning, from {spec.drift.psi.critical:g} on critical, if it is significant.",
        ),
    ]
    tab = DashboardTabModel(title="Drift", panels=[panel.id for panel in panels])
    return DashboardModel(tabs=[tab], panels=panels)


def _steady(snapshot: Any) -> dict[str, Any]:
    """Return the report as data, with those parameters of metrics only that are the same every day.

    Evidently's UI draws a line for each set of parameters; with thresholds, which are learnt, each day would be one.
    """
    data: dict[str, Any] = snapshot.to_snapshot_model().dict()
    for result in data["metric_results"].values():
        params = result["metric_value_location"]["metric"]["params"]
        for name in params.keys() - {"type", "column"}:
            del params[name]
    return data


def _publish(draft: Path, target: StoragePath) -> None:
    """Bring the files of a draft to their places; project and dashboard only where there are none."""
    for file in (draft / "snapshots").iterdir():
        place(file, target / "snapshots" / file.name)
    # The project's own file comes last: Evidently lists a folder as a project from then on.
    for name in ("dashboard.json", "metadata.json"):
        if not (target / name).exists():
            place(draft / name, target / name)


def _drop_old(folder: StoragePath, spec: ModelSpec) -> None:
    """Delete reports whose day is longer ago than the spec keeps, counted from the newest; never foreign ones."""
    own = project_id(spec.name).hex[:12]
    days = {file: day for file in folder.glob("*.json") if (day := _day(file, own)) is not None}
    newest = max(days.values())
    for file, day in days.items():
        if newest - day > spec.drift.keep_reports:
            file.unlink(missing_ok=True)


def _day(file: StoragePath, own: str) -> datetime | None:
    """Return the day that our id of a report begins with; None for a foreign report."""
    if not file.stem.endswith(f"-0000-8000-8000-{own}"):
        return None
    return datetime.strptime(file.stem[:8], "%Y%m%d")
