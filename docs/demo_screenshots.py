"""Take the pictures of a running demo: ``make demo``, then ``python docs/demo_screenshots.py [its folder]`` (needs Chromium).

Airflow's pages are shown as they are. For the other pages a weak candidate loses against the demo's champion, and some rows
are broken before they are validated.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from PIL import Image

from evermodel.cli.local_stack.environment import build_environment
from evermodel.cli.local_stack.ports import Ports, free_port
from evermodel.cli.output import step
from evermodel.core.settings import Settings
from evermodel.pipelines.retrain import Retrain
from evermodel.pipelines.run_retrain import run_retrain
from evermodel.registry.tracking import connect
from evermodel.spec import load_spec

PROJECT = Path(__file__).parents[1]
IMAGES = Path(__file__).parent / "images"
MODEL = "flights"
NODE = ".react-flow__node"
WEAK, BROKEN = datetime(2013, 4, 8, tzinfo=UTC), datetime(2013, 5, 6, tzinfo=UTC)
FEW = {"max_iter": 2, "max_leaf_nodes": 3}
BREAK = """COPY (SELECT * REPLACE (
    CASE WHEN hash(flight_id) % 70 = 0 THEN 9999 ELSE temp END AS temp,
    CASE WHEN carrier = 'UA' AND hash(flight_id) % 8 = 1 THEN ' ua' ELSE carrier END AS carrier
) FROM '{0}/flights.parquet') TO '{1}/flights.parquet'"""


def airflow_pages(browser: Any, url: str, folder: Path) -> None:
    """Show the list of DAGs, and the graph of a retrain."""
    page = browser.new_page(viewport={"width": 1150, "height": 930})
    page.goto(url)  # logs in
    page.goto(f"{url}/dags")
    page.get_by_label("toggleTableView").click()
    page.get_by_text(f"stop_rollout_{MODEL}").first.wait_for()
    page.wait_for_timeout(3000)
    shoot(page, folder, "dags")
    page.set_viewport_size({"width": 2500, "height": 700})
    page.goto(f"{url}/dags/retrain_{MODEL}/runs/{last_run(page, url)}")
    page.get_by_label("Collapse Details Panel").click()
    page.get_by_label("Show Graph (Press g)").click()
    page.get_by_test_id("expand-all-button").click()  # the stages, with their tasks
    page.locator(f"{NODE}[data-id=decide]").wait_for()
    page.add_style_tag(
        content="foreignObject, .react-flow text { overflow: visible }"
    )  # labels lose their tails
    page.wait_for_timeout(4000)
    graph_in_two_rows(page, folder)
    page.close()


def graph_in_two_rows(page: Any, folder: Path) -> None:
    """Keep the graph cut before the stage of the decision: in one row its text would be too small to read."""
    boxes = [node.bounding_box() for node in page.locator(NODE).all()]
    left, right = min(b["x"] for b in boxes) - 20, max(b["x"] + b["width"] for b in boxes) + 20
    top, bottom = min(b["y"] for b in boxes) - 20, max(b["y"] + b["height"] for b in boxes) + 30
    cut = page.locator(f"{NODE}[data-id=decision]").bounding_box()["x"] - 8
    page.screenshot(path=folder / "whole.png")
    whole = Image.open(folder / "whole.png").convert("RGB")
    rows = [
        whole.crop((int(start), int(top), int(end), int(bottom)))
        for start, end in ((left, cut), (cut, right))
    ]
    picture = Image.new(
        "RGB", (max(row.width for row in rows), 2 * rows[0].height), whole.getpixel((int(left), int(top)))
    )
    for number, row in enumerate(rows):
        picture.paste(row, (0, number * row.height))
    keep(picture, "retrain-dag")


def last_run(page: Any, url: str) -> str:
    """Return the id of the newest retrain."""
    found = page.request.get(f"{url}/api/v2/dags/retrain_{MODEL}/dagRuns?order_by=-run_after&limit=1")
    return str(found.json()["dag_runs"][0]["dag_run_id"])


def evidence(browser: Any, folder: Path) -> None:
    """Show the page of a rejected challenger, and a report with quarantined rows."""
    refused = retrain(WEAK)
    weak = refused.spec.candidates[0].model_copy(update={"name": "few_trees", "params": FEW})
    refused = replace(refused, spec=refused.spec.model_copy(update={"candidates": (weak,)}))
    run_retrain(refused, step)
    file_page(browser, refused, "decision.html", (1180, 1850), folder)
    data = os.environ["EVERMODEL_DATA"]
    os.environ["EVERMODEL_DATA"] = str(folder)
    broken(Path(data), folder)
    checked = retrain(BROKEN)
    checked.validate(checked.extract())
    os.environ["EVERMODEL_DATA"] = data
    file_page(browser, checked, "validation.html", (1160, 1130), folder)


def retrain(as_of: datetime) -> Retrain:
    """Return a retrain that is run here, outside of Airflow; a new one each time."""
    settings = Settings.from_environment()
    key = f"retrain/{MODEL}/pictures-{time.time():.0f}-{as_of:%Y-%m-%d}"
    return Retrain(load_spec(MODEL), key, as_of, "for a picture", connect(settings.tracking_uri), settings)


def broken(data: Path, folder: Path) -> None:
    """Write the data with values that no thermometer shows, and a carrier that is written otherwise."""
    import duckdb

    duckdb.execute(BREAK.format(data, folder))


def file_page(browser: Any, of: Retrain, name: str, size: tuple[int, int], folder: Path) -> None:
    """Show the top of a page that a run keeps."""
    file = of.client.download_artifacts(of.mlflow_run().info.run_id, name, str(folder))
    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.goto(f"file://{file}")
    page.wait_for_timeout(1000)
    shoot(page, folder, Path(name).stem)
    page.close()


def evidently_page(browser: Any, folder: Path) -> None:
    """Show the dashboard of Evidently's own app over the demo's reports."""
    with evidently_ui(Settings.from_environment().evidently_workspace) as url:
        project = httpx.get(f"{url}/api/projects", trust_env=False).json()[0]["id"]
        page = browser.new_page(viewport={"width": 1200, "height": 1220})
        page.goto(f"{url}/projects/{project}")
        page.get_by_text("Effect by column").wait_for()
        page.wait_for_timeout(3000)
        shoot(page, folder, "evidently_ui")
        page.close()


@contextmanager
def evidently_ui(workspace: Path) -> Iterator[str]:
    """Start Evidently's app, and end it."""
    program, port = str(Path(sys.executable).parent / "evidently"), free_port()
    command = [program, "ui", "--workspace", str(workspace), "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(120):
            try:
                httpx.get(f"http://127.0.0.1:{port}", trust_env=False)
                break
            except httpx.HTTPError:
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def shoot(page: Any, folder: Path, name: str) -> None:
    """Keep what is seen."""
    page.screenshot(path=folder / f"{name}.png")
    keep(Image.open(folder / f"{name}.png").convert("RGB"), name)


def keep(picture: Any, name: str) -> None:
    """Write a picture with few colours."""
    target = IMAGES / f"{name}.png"
    picture.quantize(128).save(target, optimize=True)
    print(target, target.stat().st_size)


def main(home: Path) -> None:
    """Look at everything."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium found: install it")
    ports = Ports.from_environment()
    os.environ.update(build_environment(home.absolute(), PROJECT, ports, {}))
    with tempfile.TemporaryDirectory(prefix="pictures-") as name, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        airflow_pages(browser, f"http://127.0.0.1:{ports.airflow}", Path(name))
        evidently_page(browser, Path(name))
        evidence(browser, Path(name))
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else ".evermodel/demo"))
