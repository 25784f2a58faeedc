"""Draw the pictures of docs/alerts.md: ``python docs/gallery.py`` (needs Chromium) builds them from the real messages.

With ``--all FOLDER``, a page for each function that builds messages shows every kind, severity and state of them.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from PIL import Image, ImageChops

from evermodel.alerts.digest_message import DigestRetrain, ModelWeek, TeamWeek, digest_message
from evermodel.alerts.incident_message import IncidentView, incident_message
from evermodel.alerts.incidents.cause import likely_cause
from evermodel.alerts.incidents.state import Incident
from evermodel.alerts.incidents.store import Transition
from evermodel.alerts.outbox import thread_html
from evermodel.alerts.plot import drift_plot
from evermodel.alerts.thread_messages import escalation_message, reminder_message, resolved_message
from evermodel.monitoring.drift.verdict import Bin, ColumnDrift, DriftVerdict, Performance
from evermodel.monitoring.problems import Problem, ProblemKind, Severity

IMAGES = Path(__file__).parent / "images"
LINKS = {
    "Evidently report": "http://mlflow.example/report",
    "MLflow run": "http://mlflow.example/run",
    "Model version": "http://mlflow.example/version",
    "Airflow run": "http://airflow.example/run",
}
START, END = "2013-03-19T00:00:00+00:00", "2013-03-26T00:00:00+00:00"


def column(
    name: str, effect: float, summary: str, severity: Severity, *shares: tuple[str, float, float]
) -> ColumnDrift:
    """Return one test of one column; shares are label, reference and window."""
    bins = tuple(Bin(label, before, now) for label, before, now in shares)
    return ColumnDrift(
        column=name, kind="numeric", what="feature", measure="PSI", effect=effect, low=0.9 * effect,
        high=1.1 * effect, calm=0.21, threshold=0.21, p_value=1e-12, reference="training", severity=severity,
        summary=summary, bins=bins,
    )  # fmt: skip


def weather(severity: Severity) -> tuple[ColumnDrift, ...]:
    """Return the columns of a week of storm, or of a calm one."""
    calm, strong = severity == "none", severity == "critical"
    scale = 0.05 if calm else 1.0 if strong else 0.45
    return (
        column("wind_speed", 0.83 * scale, "median from 9 to 17", severity,
               ("0-6", 0.30, 0.08), ("6-10", 0.32, 0.17), ("10-14", 0.22, 0.20), ("14-20", 0.12, 0.31), ("over 20", 0.04, 0.24)),
        column("pressure", 0.64 * scale, "median from 1018 to 1006", severity,
               ("to 1005", 0.10, 0.41), ("1005-1012", 0.24, 0.33), ("1012-1020", 0.36, 0.17), ("over 1020", 0.30, 0.09)),
        column("distance", 0.01, "", "none", ("short", 0.5, 0.51), ("long", 0.5, 0.49)),
        column("hour", 0.01, "", "none", ("morning", 0.5, 0.51), ("evening", 0.5, 0.49)),
        column("seats", 0.02, "", "none", ("few", 0.5, 0.51), ("many", 0.5, 0.49)),
    )  # fmt: skip


def verdict(severity: Severity, *others: Problem) -> DriftVerdict:
    """Return the verdict on a week."""
    found = weather(severity)
    drifted = [c.column for c in found if c.severity != "none"]
    reason = f"2 of 5 columns drift: {', '.join(drifted)}." if drifted else "None of 5 columns drifts."
    drift = Problem("drift", severity, reason)
    value = 0.672 if severity == "critical" else 0.731
    return DriftVerdict(
        "flights", "8" if severity == "none" else "7", START, END, "training", 42_310, 6_214, 0.01, severity, reason, (drift, *others),
        Performance("roc_auc", 5_300, value, value - 0.018, value + 0.018, 0.744), found,
    )  # fmt: skip


def view(kind: ProblemKind, judged: DriftVerdict, next_step: str) -> IncidentView:
    """Return the incident of one kind, as the last window shows it."""
    problem = judged.problem(kind)
    assert problem is not None
    over = problem.severity == "none"
    return IncidentView(
        name=f"{kind}-4-9c41d2e0", problem=problem, verdict=judged, opened=END, worst="critical" if over else problem.severity,
        links=LINKS, next_step=next_step, cause=likely_cause(judged, kind, END), owner="data-science", over=over,
        mention=("U024BE7LH",) if problem.severity == "warning" else ("U024BE7LH", "S0614TZR7"),
    )  # fmt: skip


def pages(folder: Path) -> dict[str, str]:
    """Return the pages by name."""
    cooling = "No retrain: the last training of the champion was 3 days ago (cool-down of 7 days)."
    asked = "A retrain was requested; the result will be posted here."
    warning, critical, over = (
        view("drift", verdict(s), n) for s, n in (("warning", cooling), ("critical", asked), ("none", ""))
    )
    pictures = {}
    for name, seen in (("warning", warning), ("critical", critical)):
        pictures[name] = drift_plot(seen.verdict, folder / f"{name}.png").read_bytes()
    reminder = reminder_message(replace(warning, mention=()), datetime(2013, 3, 29, tzinfo=UTC))
    return {
        "alert-warning": thread_html(incident_message(warning), [pictures["warning"], reminder]),
        "alert-critical": thread_html(incident_message(critical), [escalation_message(critical), pictures["critical"]]),
        "alert-resolved": thread_html(incident_message(over), [resolved_message(over, "Version 8 is the champion; the incident began with version 7.")]),
        "alert-kinds": "".join(thread_html(incident_message(seen), []) for seen in kinds()),
        "digest": thread_html(digest_message(TeamWeek("data-science", START, END, loud()), {"Airflow": LINKS["Airflow run"]}), []),
        "digest-quiet": thread_html(digest_message(TeamWeek("data-science", START, END, quiet()), {"Airflow": LINKS["Airflow run"]}), []),
    }  # fmt: skip


def kinds() -> list[IncidentView]:
    """Return an incident of each of the other kinds."""
    late = ("temp: 92% missing, at most 50% allowed", "humid: 92% missing, at most 50% allowed")
    bad = Problem("quality", "warning", "2 columns lack values.", details=late)
    poor = Problem(
        "performance",
        "critical",
        "roc_auc is 0.672, 0.072 below the baseline 0.744; at most 0.030 is allowed.",
    )
    slow = Problem(
        "serving",
        "warning",
        "1 of 4 objectives is missed.",
        details=("p99 412 ms, at most 250 ms (18,204 requests)",),
    )
    return [
        view("quality", verdict("none", bad), "No automatic retrain because of bad data. Fix the source first, then rerun this window."),
        view("performance", verdict("critical", poor), "A retrain was requested; the result will be posted here."),
        view("serving", verdict("none", slow), "Check the serving app and its logs; a retrain does not help."),
    ]  # fmt: skip


def loud() -> tuple[ModelWeek, ...]:
    """Return the models of a week with news."""
    opened = Transition(
        "drift-4-x",
        "drift",
        "open",
        "critical",
        END,
        END,
        "7",
        "",
        "2 of 5 columns drift: wind_speed, pressure",
    )
    ended = Transition("quality-1-x", "quality", "resolve", "warning", "2013-03-21", "2013-03-20", "7")
    going_on = Incident("drift-4-x", END, "critical", "critical", END, opened.cause)
    retrains = (DigestRetrain("2013-03-25T00:00:00+00:00", "kept the champion", "", "scheduled"),
                DigestRetrain(END, "deployed", "8", "drift since 2013-03-19"))  # fmt: skip
    flights = ModelWeek("flights", "8", "2013-03-26T00:00:00+00:00", 7, (opened, ended), (going_on,), retrains,
                        Performance("roc_auc", 5_300, 0.672, promised=0.744))  # fmt: skip
    return (flights, *quiet()[1:])


def quiet() -> tuple[ModelWeek, ...]:
    """Return the models of a week without."""

    def calm(name: str, version: str, promoted: str, *performance: float) -> ModelWeek:
        value, promised = performance
        return ModelWeek(
            name, version, promoted, 7, performance=Performance("roc_auc", 5_000, value, promised=promised)
        )

    return (
        calm("flights", "7", "2013-03-11T00:00:00+00:00", 0.741, 0.744),
        calm("churn", "12", "2013-02-04T00:00:00+00:00", 0.803, 0.798),
        calm("fraud", "31", "2013-03-18T00:00:00+00:00", 0.912, 0.915),
    )


def photograph(page: str, target: Path, folder: Path) -> None:
    """Turn a page into a small PNG without the empty rest below it."""
    source, shot = folder / "page.html", folder / "page.png"
    source.write_text(page, encoding="utf-8")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        raise SystemExit("no Chromium found: install it, or open the pages in a browser")
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--window-size=790,2400"]
    command = [browser, *options, f"--screenshot={shot}", source.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    image = Image.open(shot).convert("RGB")
    box = ImageChops.difference(image, Image.new("RGB", image.size, "white")).getbbox()
    assert box is not None
    cut = image.crop((0, 0, image.width, min(image.height, box[3] + 24)))
    cut.quantize(128, dither=Image.Dither.NONE).save(target, optimize=True)


def every_state(folder: Path) -> None:
    """Write a page of each kind of message, with all of its states."""
    sys.path[:0] = [str(IMAGES.parents[1]), str(IMAGES.parents[1] / "tests")]
    from support.message_states import states

    folder.mkdir(parents=True, exist_ok=True)
    for name, messages in states().items():
        target = folder / f"{name}.html"
        target.write_text(thread_html(messages[0], messages[1:]), encoding="utf-8")
        print(target)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--all"]:
        every_state(Path(sys.argv[2]))
        raise SystemExit
    with tempfile.TemporaryDirectory() as made:
        for name, page in pages(Path(made)).items():
            photograph(page, IMAGES / f"{name}.png", Path(made))
            print(IMAGES / f"{name}.png", (IMAGES / f"{name}.png").stat().st_size)
