"""Take the pictures of docs/page.md: ``python docs/screenshots.py`` (needs Chromium) starts Airflow and MLflow and looks."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml
from PIL import Image

PROJECT = Path(__file__).parents[1]
sys.path.insert(0, str(PROJECT))

from tests.simulations.page_history import NAMES, last_midnight, write_history  # noqa: E402

from evermodel.cli.local_stack.local import LocalStack  # noqa: E402
from evermodel.cli.local_stack.ports import Ports  # noqa: E402
from evermodel.cli.local_stack.processes import Service  # noqa: E402

IMAGES = Path(__file__).parent / "images"
OWNERS = ("growth", "risk", "growth", "risk", "sales", "supply", "supply", "sales")
DAYS, SEED = 200, 17
MODEL = "fraud"
SOON = re.compile(r"^in \d+ (d|h|min)$")


class Shown(LocalStack):
    """A stack of which only the pages are opened."""

    def services(self) -> list[Service]:
        """Leave out what runs tasks."""
        wanted = ("airflow-database", "airflow-api-server", "airflow-dag-processor", "mlflow")
        return [service for service in super().services() if service.name in wanted]


def write_specs(folder: Path) -> None:
    """Write a spec for each model, so that Airflow has its DAGs."""
    spec = yaml.safe_load((PROJECT / "include" / "models" / "flights.yaml").read_text(encoding="utf-8"))
    folder.mkdir(parents=True)
    for name, owner in zip(NAMES, OWNERS, strict=True):
        text = yaml.safe_dump({**spec, "name": name, "owner": owner}, sort_keys=False)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def wait_for_history(browser: Any, url: str) -> None:
    """Open the list until everything is read."""
    page = browser.new_page()
    page.goto(url)  # logs in
    while True:
        page.goto(f"{url}/evermodel/")
        if page.locator("#models").count() and not page.get_by_text("Reading the").count():
            page.close()
            return
        page.wait_for_timeout(1000)


def look(browser: Any, url: str, folder: Path) -> None:
    """Open the pages and keep what is seen."""
    for theme in ("light", "dark"):
        wide = browser.new_context(viewport={"width": 1400, "height": 860})
        wide.add_init_script(f"localStorage.setItem('theme', '{theme}')")
        page = wide.new_page()
        page.goto(f"{url}/plugin/models")
        frame = page.frame_locator("iframe")
        frame.get_by_text(SOON).first.wait_for()
        if theme == "light":
            shoot(page, folder, "models")
        page.set_viewport_size({"width": 1400, "height": 1120})
        page.goto(f"{url}/plugin/models/evermodel/models/{MODEL}")
        frame.get_by_role("button", name="Retrain…").wait_for()
        frame.locator("#timeline .hoverlayer").wait_for(state="attached")
        page.wait_for_timeout(1500)
        shoot(page, folder, f"model-{theme}")
        if theme == "light":
            page.set_viewport_size({"width": 1400, "height": 860})
            frame.get_by_role("button", name="Retrain…").click()
            frame.locator("dialog[open] .field").first.wait_for()
            shoot(page, folder, "model-form")
        wide.close()
    phone = browser.new_context(viewport={"width": 390, "height": 844}, color_scheme="dark")
    page = phone.new_page()
    page.goto(url)  # logs in
    page.goto(f"{url}/evermodel/")
    page.get_by_text(SOON).first.wait_for()
    shoot(page, folder, "models-phone")
    page.goto(f"{url}/evermodel/models/{MODEL}")
    page.locator("#timeline .hoverlayer").wait_for(state="attached")
    page.get_by_role("button", name="Retrain…").wait_for()
    page.wait_for_timeout(1500)
    page.evaluate("scrollTo(0, 420)")  # to the time line
    shoot(page, folder, "model-phone")
    phone.close()


def shoot(page: Any, folder: Path, name: str) -> None:
    """Keep a small PNG of what is seen."""
    page.screenshot(path=folder / f"{name}.png")
    target = IMAGES / f"{name}.png"
    # No palette: small marks in a colour of their own would lose it.
    Image.open(folder / f"{name}.png").convert("RGB").save(target, optimize=True)
    print(target, target.stat().st_size)


def main() -> None:
    """Start everything, look, and end everything."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("no Chromium found: install it")
    with tempfile.TemporaryDirectory(prefix="screenshots-") as name:
        folder = Path(name)
        write_specs(folder / "project" / "include" / "models")
        (folder / "project" / "dags").symlink_to(PROJECT / "dags")
        with Shown(folder / "home", folder / "project", Ports.unused()) as stack:
            api = stack.start()
            write_history(stack.home / "mlflow" / "mlflow.db", len(NAMES), DAYS, last_midnight(), SEED)
            api.wait_for_dags([f"{kind}_{model}" for kind in ("retrain", "rollback") for model in NAMES])
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
                wait_for_history(browser, stack.airflow_url)
                look(browser, stack.airflow_url, folder)
                browser.close()


if __name__ == "__main__":
    main()
